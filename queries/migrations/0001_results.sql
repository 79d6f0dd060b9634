CREATE TABLE IF NOT EXISTS runs
(
    run Int64 COMMENT 'Run',
    namespace LowCardinality(String) COMMENT 'Prefix of the topics that the run is on',
    scenario LowCardinality(String) COMMENT 'Name of the scenario, or of the tape',
    seed Int64 COMMENT 'Seed of every random number of the run',
    state LowCardinality(String) COMMENT 'open, paused, finished (complete on the log), aborted, projected, stored (complete in the tables), published',
    digest String COMMENT 'Digest of the run, hex; empty while it is open',
    root String COMMENT 'Root of the chains of the log, hex; empty while it is open',
    epochs Int64 COMMENT 'Epochs of the run',
    ticks Int64 COMMENT 'Simulated time, 0 while the run is open [ticks]',
    shards Int64 COMMENT 'Agent shards',
    partitions Int64 COMMENT 'Order and trade partitions',
    flow_partitions Int64 COMMENT 'Flow and decision partitions',
    epoch_ticks Int64 COMMENT 'Length of an epoch [ticks]',
    rules_version Int32 COMMENT 'Version of the behaviour',
    digest_version Int32 COMMENT 'Version of the digest',
    parent Int64 COMMENT 'Run that this one was forked from, 0 = none',
    parent_epoch Int64 COMMENT 'Last epoch shared with the parent, -1 = none',
    config String COMMENT 'The scenario [JSON]',
    environment String COMMENT 'Lock file hash, CPU architecture, versions [JSON]',
    start_offsets String COMMENT 'First offset of the run per topic and partition [JSON]',
    end_offsets String COMMENT 'Offset behind the last record of the run per topic and partition [JSON]',
    reason String COMMENT 'Why the run was aborted; empty otherwise',
    tape String COMMENT 'What is known of the tape that was ingested; empty for a simulation [JSON]',
    started_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the run was started [UTC]',
    finished_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the end of the run was read from the log [UTC]',
    version Int64 COMMENT 'Counter of changes of this row: the highest counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY run
COMMENT 'One row per run';

CREATE TABLE IF NOT EXISTS stream_indicators
(
    run Int64 COMMENT 'Run',
    window Int32 COMMENT 'Window of the national accounts, from 0 [windows]',
    indicator LowCardinality(String) COMMENT 'Name of the indicator, see economy/measures.py',
    item Int64 COMMENT 'Product, instrument, point of a curve, or 0',
    value Decimal(38, 0) COMMENT 'Value [unit of the indicator]'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, window, indicator, item)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Indicators as the stream computed them';

CREATE TABLE IF NOT EXISTS batch_indicators
(
    run Int64 COMMENT 'Run',
    window Int32 COMMENT 'Window of the national accounts, from 0 [windows]',
    indicator LowCardinality(String) COMMENT 'Name of the indicator, see economy/measures.py',
    item Int64 COMMENT 'Product, instrument, point of a curve, or 0',
    value Decimal(38, 0) COMMENT 'Value [unit of the indicator]',
    job LowCardinality(String) COMMENT 'Job that computed it',
    job_version Int32 COMMENT 'Version of the job',
    start_offsets String COMMENT 'First offset read per topic and partition [JSON]',
    end_offsets String COMMENT 'Offset behind the last one read per topic and partition [JSON]',
    computed_at DateTime64(3, 'UTC') COMMENT 'When it was computed [UTC]'
)
ENGINE = MergeTree
PARTITION BY (run, job)
ORDER BY (run, job, window, indicator, item)
COMMENT 'Indicators as batch jobs computed them from the log, with where from';

CREATE TABLE IF NOT EXISTS batch_indicators_staging AS batch_indicators
ENGINE = MergeTree
PARTITION BY (run, job)
ORDER BY (run, job, window, indicator, item)
COMMENT 'Figures of a job that is not ready: published by REPLACE PARTITION';

CREATE TABLE IF NOT EXISTS tape_comparisons
(
    run Int64 COMMENT 'Run',
    orders Int64 COMMENT 'Orders of the tape [orders]',
    trades Int64 COMMENT 'Trades of the run [trades]',
    prints Int64 COMMENT 'Trades that the exchange printed [trades]',
    matched Int64 COMMENT 'Prints that the run made with the same pair of orders [trades]',
    explanation String COMMENT 'What differs and why [JSON]',
    compared_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When they were compared [UTC]'
)
ENGINE = ReplacingMergeTree(compared_at)
ORDER BY run
COMMENT 'Runs of a tape against the trades that the exchange printed';

CREATE TABLE IF NOT EXISTS sink_offsets
(
    namespace LowCardinality(String) COMMENT 'Prefix of the topics',
    family LowCardinality(String) COMMENT 'Topic without the namespace',
    kafka_partition Int32 COMMENT 'Partition of the topic',
    first Int64 COMMENT 'First offset of the newest block',
    next Int64 COMMENT 'Offset behind the newest block',
    stored UInt8 COMMENT '1 = the block is in the tables, 0 = it is being inserted and will be repeated',
    version Int64 COMMENT 'Order of the rows of a partition: the highest counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (namespace, family, kafka_partition)
COMMENT 'How far the log has come into the tables';

CREATE TABLE IF NOT EXISTS sink_defects
(
    namespace LowCardinality(String) COMMENT 'Prefix of the topics',
    family LowCardinality(String) COMMENT 'Topic without the namespace',
    kafka_partition Int32 COMMENT 'Partition of the topic',
    kafka_offset Int64 COMMENT 'Offset of the record',
    defect LowCardinality(String) COMMENT 'Why it could not be decoded'
)
ENGINE = ReplacingMergeTree
ORDER BY (namespace, family, kafka_partition, kafka_offset)
COMMENT 'Records that could not be decoded and so are in no table';
