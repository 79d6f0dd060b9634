CREATE TABLE IF NOT EXISTS liquidity
(
    run Int64 COMMENT 'Run',
    window Int32 COMMENT 'Window of the national accounts, from 0 [windows]',
    instrument Int64 COMMENT 'Instrument',
    trades Int64 COMMENT 'Trades [trades]',
    traded_quantity Decimal(38, 0) COMMENT 'Quantity traded [lots]',
    traded_value Decimal(38, 0) COMMENT 'Notional of the trades [1e-8 of the currency]',
    quoted_epochs Int64 COMMENT 'Epochs at whose end both sides were quoted [epochs]',
    quoted_spread Nullable(Decimal(38, 0)) COMMENT 'Mean quoted spread over the mid price, null without two-sided quotes [1e-9]',
    best_bid_depth Decimal(38, 0) COMMENT 'Mean quantity at the best bid [lots]',
    best_ask_depth Decimal(38, 0) COMMENT 'Mean quantity at the best ask [lots]',
    bid_depth Decimal(38, 0) COMMENT 'Mean quantity of all bids [lots]',
    ask_depth Decimal(38, 0) COMMENT 'Mean quantity of all asks [lots]',
    illiquidity Nullable(Decimal(38, 0)) COMMENT 'Illiquidity by Amihud: mean absolute return of a round per million of the currency traded, null without trades [1e-9 per million]',
    price_impact Nullable(Decimal(38, 0)) COMMENT 'Price impact by Kyle: price change of a round per lot of order flow, null where the flow does not vary [1e-9 price steps per lot]',
    job LowCardinality(String) COMMENT 'Job that computed it',
    job_version Int32 COMMENT 'Version of the job',
    start_offsets String COMMENT 'First offset read per topic and partition [JSON]',
    end_offsets String COMMENT 'Offset behind the last one read per topic and partition [JSON]',
    computed_at DateTime64(3, 'UTC') COMMENT 'When it was computed [UTC]'
)
ENGINE = MergeTree
PARTITION BY (run, job)
ORDER BY (run, job, window, instrument)
COMMENT 'Liquidity of an instrument in a window';
