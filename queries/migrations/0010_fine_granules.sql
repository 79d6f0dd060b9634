CREATE TABLE IF NOT EXISTS order_submitted_fine AS order_submitted
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 512, min_compress_block_size = 8192
COMMENT 'An order was sent; granules are small, as single orders are looked up';
TRUNCATE TABLE order_submitted_fine;
INSERT INTO order_submitted_fine SETTINGS max_partitions_per_insert_block = 0 SELECT * FROM order_submitted;
EXCHANGE TABLES order_submitted AND order_submitted_fine;
DROP TABLE order_submitted_fine;

CREATE TABLE IF NOT EXISTS agent_decided_fine AS agent_decided
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000, index_granularity = 512, min_compress_block_size = 8192
COMMENT 'A wake-up that weighed options, also when the answer is \'nothing\'; granules are small, as single decisions are looked up';
TRUNCATE TABLE agent_decided_fine;
INSERT INTO agent_decided_fine SETTINGS max_partitions_per_insert_block = 0 SELECT * FROM agent_decided;
EXCHANGE TABLES agent_decided AND agent_decided_fine;
DROP TABLE agent_decided_fine;
