CREATE TABLE IF NOT EXISTS price_stability
(
    run Int64 COMMENT 'Run',
    window Int32 COMMENT 'Window of the national accounts, from 0 [windows]',
    instrument Int64 COMMENT 'Instrument',
    opening_price Int64 COMMENT 'Valuation price at the start of the window [price steps]',
    closing_price Int64 COMMENT 'Valuation price at its end [price steps]',
    inflation Decimal(38, 0) COMMENT 'Change from opening to closing price [1e-9]',
    realised_volatility Decimal(38, 0) COMMENT 'Root of the sum of squared returns of the rounds, per window [1e-9]',
    max_drawdown Decimal(38, 0) COMMENT 'Largest fall from the highest price so far [1e-9]',
    job LowCardinality(String) COMMENT 'Job that computed it',
    job_version Int32 COMMENT 'Version of the job',
    start_offsets String COMMENT 'First offset read per topic and partition [JSON]',
    end_offsets String COMMENT 'Offset behind the last one read per topic and partition [JSON]',
    computed_at DateTime64(3, 'UTC') COMMENT 'When it was computed [UTC]'
)
ENGINE = MergeTree
PARTITION BY (run, job)
ORDER BY (run, job, window, instrument)
COMMENT 'Stability of the price of an instrument over a window';
