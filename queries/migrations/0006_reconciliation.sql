CREATE TABLE IF NOT EXISTS reconciliation
(
    run Int64 COMMENT 'Run',
    window Int32 COMMENT 'Window of the national accounts, from 0 [windows]',
    indicator LowCardinality(String) COMMENT 'Name of the indicator, see economy/measures.py',
    item Int64 COMMENT 'Product, instrument, point of a curve, or 0',
    stream Nullable(Decimal(38, 0)) COMMENT 'Value by the streaming projection, null when it is missing [unit of the indicator]',
    batch Nullable(Decimal(38, 0)) COMMENT 'Value by the batch transforms, null when it is missing [unit of the indicator]',
    equal UInt8 COMMENT '1 = both are there and the same integer',
    job LowCardinality(String) COMMENT 'Job that computed it',
    job_version Int32 COMMENT 'Version of the job',
    start_offsets String COMMENT 'First offset read per topic and partition [JSON]',
    end_offsets String COMMENT 'Offset behind the last one read per topic and partition [JSON]',
    computed_at DateTime64(3, 'UTC') COMMENT 'When it was computed [UTC]'
)
ENGINE = MergeTree
PARTITION BY (run, job)
ORDER BY (run, job, window, indicator, item)
COMMENT 'Indicators of the stream against the ones that the log yields again';
