CREATE TABLE IF NOT EXISTS agent_performance
(
    run Int64 COMMENT 'Run',
    window Int32 COMMENT 'Window of the national accounts, from 0 [windows]',
    agent Int64 COMMENT 'Agent',
    role LowCardinality(String) COMMENT 'Role of the agent',
    net_worth Decimal(38, 0) COMMENT 'Assets less debts at the end of the window; of corporations their own funds [1e-8 of the currency]',
    change Decimal(38, 0) COMMENT 'Change of net worth since the window before, or the opening [1e-8 of the currency]',
    growth Nullable(Decimal(38, 0)) COMMENT 'Change over the net worth before, null where that was not positive [1e-9]',
    trades Int64 COMMENT 'Trades as buyer or seller [trades]',
    bought Decimal(38, 0) COMMENT 'Notional of purchases, without tax [1e-8 of the currency]',
    sold Decimal(38, 0) COMMENT 'Notional of sales [1e-8 of the currency]',
    job LowCardinality(String) COMMENT 'Job that computed it',
    job_version Int32 COMMENT 'Version of the job',
    start_offsets String COMMENT 'First offset read per topic and partition [JSON]',
    end_offsets String COMMENT 'Offset behind the last one read per topic and partition [JSON]',
    computed_at DateTime64(3, 'UTC') COMMENT 'When it was computed [UTC]'
)
ENGINE = MergeTree
PARTITION BY (run, job)
ORDER BY (run, job, window, agent)
COMMENT 'How an agent fared in a window';
