CREATE TABLE IF NOT EXISTS agent_bankrupt
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Who failed',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `capital_needed` Int64 COMMENT 'Deposits that the successor seeks from founders [1e-8 of the currency]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'The agent cannot go on: its contracts end, its old shares are void, a successor takes over the shell';

CREATE TABLE IF NOT EXISTS agent_decided
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Agent that acts: submitter of the record',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `role` Enum8('government' = 0, 'central_bank' = 1, 'statistics_office' = 2, 'market_maker' = 3, 'corporation' = 4, 'household' = 5, 'gateway' = 6) COMMENT 'Role of the agent',
    `strategy` Enum8('rule' = 0) COMMENT 'Rule followed',
    `action` Enum8('nothing' = 0, 'plan' = 1, 'price' = 2, 'offer' = 3, 'buy_inputs' = 4, 'invest' = 5, 'hire' = 6, 'dismiss' = 7, 'apply' = 8, 'quit' = 9, 'consume' = 10, 'trade_shares' = 11, 'quote' = 12, 'pay_dividend' = 13, 'review_wage' = 14, 'set_policy' = 15, 'borrow' = 16, 'pay' = 17, 'publish' = 18, 'found' = 19, 'close_down' = 20) COMMENT 'What was decided',
    `choice` Int64 COMMENT 'The quantity decided, see docs/decisions.md for its meaning by role and action',
    `input_1` Int64 COMMENT 'First input that mattered, by role and action',
    `input_2` Int64 COMMENT 'Second input',
    `input_3` Int64 COMMENT 'Third input',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'A wake-up that weighed options, also when the answer is \'nothing\'';

CREATE TABLE IF NOT EXISTS agent_founded
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'The agent',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `name` String COMMENT 'Name for people',
    `role` Enum8('government' = 0, 'central_bank' = 1, 'statistics_office' = 2, 'market_maker' = 3, 'corporation' = 4, 'household' = 5, 'gateway' = 6) COMMENT 'Role',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'An agent exists';

CREATE TABLE IF NOT EXISTS balance_recorded
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `window` Int64 COMMENT 'Number of the window',
    `agent` Int64 COMMENT 'Owner',
    `account` Enum8('cash' = 0, 'goods' = 1, 'capital' = 2, 'shares' = 3, 'bonds' = 4) COMMENT 'Which stock',
    `item` Int64 COMMENT 'Product, issuer or 0',
    `quantity` Int64 COMMENT 'Amount [as OpeningBalance]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, window, agent, account, item)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Stock of an agent at the end of a window';

CREATE TABLE IF NOT EXISTS book_updated
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `seq` Int64 COMMENT 'Dense counter of the instrument\'s output; (run, instrument, seq) is the identity of this record',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `side` Enum8('buy' = 0, 'sell' = 1) COMMENT 'Side of the book',
    `price` Int64 COMMENT 'Level [price steps (10^-price_scale)]',
    `quantity` Int64 COMMENT 'Total quantity resting at the level [lots (10^-quantity_scale)]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, instrument, seq)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'New total at a price level that changed in the epoch (0 = gone)';

CREATE TABLE IF NOT EXISTS capital_depreciated
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Owner',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `product` Int64 COMMENT 'Capital good',
    `quantity` Int64 COMMENT 'Worn out [lots (10^-quantity_scale)]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Machines wore out';

CREATE TABLE IF NOT EXISTS contract_accepted
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Who answers',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `offerer` Int64 COMMENT 'Agent whose offer it is',
    `kind` Enum8('employment' = 0) COMMENT 'Kind of contract',
    `quantity` Int64 COMMENT 'Amount put forward [labour lots]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'An agent answers an offer; the offerer picks in canonical order';

CREATE TABLE IF NOT EXISTS contract_ended
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Who ended it',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `employer` Int64 COMMENT 'Employer',
    `worker` Int64 COMMENT 'Household',
    `kind` Enum8('employment' = 0) COMMENT 'Kind of contract',
    `reason` Enum8('quit' = 0, 'dismissed' = 1, 'bankrupt' = 2) COMMENT 'Why',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'The contract has ended';

CREATE TABLE IF NOT EXISTS contract_offered
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Offerer',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `kind` Enum8('employment' = 0) COMMENT 'Kind of contract',
    `quantity` Int64 COMMENT 'Amount sought [labour lots (1/1000 efficiency unit)]',
    `price` Int64 COMMENT 'Wage per labour lot and round [1e-8 of the currency]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'A standing offer that others may accept until the round\'s end';

CREATE TABLE IF NOT EXISTS contract_signed
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Employer',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `worker` Int64 COMMENT 'Household',
    `kind` Enum8('employment' = 0) COMMENT 'Kind of contract',
    `quantity` Int64 COMMENT 'Amount [labour lots]',
    `price` Int64 COMMENT 'Wage per labour lot and round [1e-8 of the currency]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'The contract runs from the next round on';

CREATE TABLE IF NOT EXISTS goods_consumed
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'User',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `product` Int64 COMMENT 'Product',
    `quantity` Int64 COMMENT 'Used [lots (10^-quantity_scale)]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Inputs were used up in production';

CREATE TABLE IF NOT EXISTS goods_produced
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Producer',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `product` Int64 COMMENT 'Product',
    `quantity` Int64 COMMENT 'Output [lots (10^-quantity_scale)]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Output went into the producer\'s finished stock';

CREATE TABLE IF NOT EXISTS instrument_listed
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `symbol` String COMMENT 'Name for people',
    `instrument_class` Enum8('good' = 0, 'service' = 1, 'equity' = 2, 'currency' = 3) COMMENT 'What is traded',
    `item` Int64 COMMENT 'Product index of a good or service, issuer\'s agent id of an equity, else 0',
    `currency` String COMMENT 'Currency of the price',
    `price_scale` Int64 COMMENT 'Decimal places of a price',
    `quantity_scale` Int64 COMMENT 'Decimal places of a quantity',
    `tick_size` Int64 COMMENT 'Smallest price step [price steps]',
    `lot_size` Int64 COMMENT 'Smallest quantity step [lots]',
    `fixing_ticks` Int64 COMMENT 'Interval of PriceFixed, 0 = never [ticks]',
    `reference_price` Int64 COMMENT 'First valuation price [price steps]',
    `band_bp` Int64 COMMENT 'Width of the price band around the reference, 0 = none [0.0001]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, instrument)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'An instrument may be traded';

CREATE TABLE IF NOT EXISTS intervention_applied
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `epoch` Int64 COMMENT 'Number of the epoch: tick // epoch_ticks; -1 is the opening',
    `incarnation` Int64 COMMENT 'Start counter of the writer\'s process; outside the record\'s identity',
    `key` String COMMENT 'What is changed',
    `value` String COMMENT 'New value as JSON',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, epoch, key)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Somebody changed the run from outside, from this epoch on';

CREATE TABLE IF NOT EXISTS money_transferred
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Payer',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `payee` Int64 COMMENT 'Agent that receives amount - withheld',
    `kind` Enum8('wage' = 0, 'benefit' = 1, 'income_tax' = 2, 'profit_tax' = 3, 'dividend' = 4, 'deposit_interest' = 5, 'bond_interest' = 6, 'central_bank_profit' = 7, 'bond_issue' = 8, 'bond_redemption' = 9, 'founding' = 10, 'estate' = 11, 'transfer' = 12) COMMENT 'What for',
    `amount` Int64 COMMENT 'Gross amount debited [1e-8 of the currency]',
    `withheld` Int64 COMMENT 'Income tax withheld by the payer, credited to the government [1e-8 of the currency]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'The payer\'s account was debited; the payee is credited at the cut';

CREATE TABLE IF NOT EXISTS opening_balance
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Owner',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `account` Enum8('cash' = 0, 'goods' = 1, 'capital' = 2, 'shares' = 3, 'bonds' = 4) COMMENT 'Which stock',
    `item` Int64 COMMENT 'Product, issuer (shares, bonds) or 0 (cash)',
    `quantity` Int64 COMMENT 'Amount [1e-8 of the currency (cash, bonds), lots (goods, capital), shares]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Stock at the run\'s start';

CREATE TABLE IF NOT EXISTS opening_parameter
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Owner, -1 = everybody',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `parameter` Enum8('skill' = 0, 'employer' = 1, 'wage' = 2, 'expected_sales' = 3, 'markup' = 4, 'price' = 5, 'product' = 6, 'labour_coefficient' = 7, 'capital_coefficient' = 8, 'recipe' = 9, 'consumption_share' = 10, 'government_share' = 11, 'ownership' = 12, 'expected_income' = 13, 'wealth_propensity' = 14, 'capital_target' = 15, 'expected_dividend' = 16, 'constant' = 17) COMMENT 'Which variable',
    `item` Int64 COMMENT 'Product or other index, else 0',
    `value` Int64 COMMENT 'Value [1e-9 of its unit]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Start value of a state variable that is not an account';

CREATE TABLE IF NOT EXISTS order_cancel_requested
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Agent that acts: submitter of the record',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `order` Int64 COMMENT 'Order id to cancel',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `decision` Int64 COMMENT 'n of the AgentDecided record that this follows from, 0 = none',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'An agent wants its order off the book';

CREATE TABLE IF NOT EXISTS order_closed
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `seq` Int64 COMMENT 'Dense counter of the instrument\'s output; (run, instrument, seq) is the identity of this record',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Owner',
    `order` Int64 COMMENT 'Order id',
    `reason` Enum8('cancelled' = 0, 'expired' = 1, 'unfilled' = 2, 'self_trade' = 3, 'run_closed' = 4) COMMENT 'Why',
    `quantity` Int64 COMMENT 'Unfilled rest [lots (10^-quantity_scale)]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, instrument, seq)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'The rest of an order left the book unfilled';

CREATE TABLE IF NOT EXISTS order_rejected
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `seq` Int64 COMMENT 'Dense counter of the instrument\'s output; (run, instrument, seq) is the identity of this record',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Submitter',
    `n` Int64 COMMENT 'n of the refused record',
    `order` Int64 COMMENT 'Its order id',
    `reason` Enum8('malformed' = 0, 'unknown_instrument' = 1, 'halted' = 2, 'off_tick' = 3, 'off_lot' = 4, 'price_out_of_range' = 5, 'quantity_out_of_range' = 6, 'notional_overflow' = 7, 'outside_price_band' = 8, 'duplicate_order' = 9, 'order_id_reused' = 10, 'unknown_order' = 11, 'not_owner' = 12, 'post_only_would_cross' = 13, 'already_expired' = 14) COMMENT 'Why',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, instrument, seq)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'An order or cancel request was refused';

CREATE TABLE IF NOT EXISTS order_submitted
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Agent that acts: submitter of the record',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `order` Int64 COMMENT 'Order id, unique per agent',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `side` Enum8('buy' = 0, 'sell' = 1) COMMENT 'buy or sell',
    `type` Enum8('limit' = 0, 'market' = 1) COMMENT 'limit or market',
    `tif` Enum8('gtc' = 0, 'ioc' = 1, 'fok' = 2) COMMENT 'Time in force',
    `post_only` Int64 COMMENT '1 = reject instead of taking liquidity',
    `price` Int64 COMMENT 'Limit price; 0 for a market order [price steps (10^-price_scale)]',
    `quantity` Int64 COMMENT 'Quantity ordered [lots (10^-quantity_scale)]',
    `expires` Int64 COMMENT 'Last tick at which the order stands, 0 = until cancelled [tick]',
    `cash_cap` Int64 COMMENT 'Most that a market buy may spend without tax, 0 = no cap [1e-8 of the currency]',
    `use` Enum8('none' = 0, 'intermediate' = 1, 'consumption' = 2, 'investment' = 3, 'government' = 4) COMMENT 'Buyer\'s use',
    `tax_rate` Int64 COMMENT 'Sales tax that the buyer owes on top [0.0001]',
    `decision` Int64 COMMENT 'n of the AgentDecided record that this follows from, 0 = none',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'An order was sent';

CREATE TABLE IF NOT EXISTS payment_due
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Claimant',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `payer` Int64 COMMENT 'Agent asked to pay',
    `kind` Enum8('wage' = 0, 'benefit' = 1, 'income_tax' = 2, 'profit_tax' = 3, 'dividend' = 4, 'deposit_interest' = 5, 'bond_interest' = 6, 'central_bank_profit' = 7, 'bond_issue' = 8, 'bond_redemption' = 9, 'founding' = 10, 'estate' = 11, 'transfer' = 12) COMMENT 'What for',
    `amount` Int64 COMMENT 'Amount claimed [1e-8 of the currency]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'A claim: the payer\'s shard is asked to pay';

CREATE TABLE IF NOT EXISTS policy_changed
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Government or central bank',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `policy` Enum8('income_tax_rate' = 0, 'vat_rate' = 1, 'profit_tax_rate' = 2, 'policy_rate' = 3, 'deposit_rate' = 4, 'government_spending' = 5, 'replacement_rate' = 6) COMMENT 'Which',
    `value` Int64 COMMENT 'New value [1e-9]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'A public body set an instrument of policy';

CREATE TABLE IF NOT EXISTS price_band_changed
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `seq` Int64 COMMENT 'Dense counter of the instrument\'s output; (run, instrument, seq) is the identity of this record',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `low` Int64 COMMENT 'Lowest price accepted [price steps]',
    `high` Int64 COMMENT 'Highest price accepted [price steps]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, instrument, seq)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Limits outside the band are refused';

CREATE TABLE IF NOT EXISTS price_fixed
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `seq` Int64 COMMENT 'Dense counter of the instrument\'s output; (run, instrument, seq) is the identity of this record',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `price` Int64 COMMENT 'Valuation price from now on [price steps (10^-price_scale)]',
    `quantity` Int64 COMMENT 'Volume of the interval [lots (10^-quantity_scale)]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, instrument, seq)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Valuation price: volume-weighted over the interval, floored to a step; kept where nothing traded';

CREATE TABLE IF NOT EXISTS shares_cancelled
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Issuer',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `holder` Int64 COMMENT 'Old owner',
    `quantity` Int64 COMMENT 'Shares [shares]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'A holder\'s shares of the agent became void';

CREATE TABLE IF NOT EXISTS shares_issued
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Issuer',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `holder` Int64 COMMENT 'New owner',
    `quantity` Int64 COMMENT 'Shares [shares]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'New shares of the agent were given to a holder';

CREATE TABLE IF NOT EXISTS statistics_published
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `agent` Int64 COMMENT 'Statistics office',
    `n` Int64 COMMENT 'Counter of the agent over all its records; (run, agent, n) is the identity of this record',
    `series` Enum8('consumer_price_index' = 0, 'inflation' = 1, 'unemployment' = 2, 'market_wage' = 3, 'gdp' = 4, 'top_deposits_threshold' = 5, 'top_deposits_sum' = 6, 'mean_capital' = 7, 'mean_sales' = 8, 'stock_fundamental' = 9) COMMENT 'Which statistic',
    `item` Int64 COMMENT 'Product, issuer or 0',
    `value` Int64 COMMENT 'Value [1e-9 of its unit]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, agent, n)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'What everybody may know';

CREATE TABLE IF NOT EXISTS trade_executed
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `seq` Int64 COMMENT 'Dense counter of the instrument\'s output; (run, instrument, seq) is the identity of this record',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `price` Int64 COMMENT 'Price of the resting order [price steps (10^-price_scale)]',
    `quantity` Int64 COMMENT 'Quantity traded [lots (10^-quantity_scale)]',
    `maker_agent` Int64 COMMENT 'Agent whose order rested',
    `maker_order` Int64 COMMENT 'Its order id',
    `taker_agent` Int64 COMMENT 'Agent whose order came in',
    `taker_order` Int64 COMMENT 'Its order id',
    `taker_side` Enum8('buy' = 0, 'sell' = 1) COMMENT 'Side of the incoming order',
    `use` Enum8('none' = 0, 'intermediate' = 1, 'consumption' = 2, 'investment' = 3, 'government' = 4) COMMENT 'Buyer\'s use',
    `instrument_class` Enum8('good' = 0, 'service' = 1, 'equity' = 2, 'currency' = 3) COMMENT 'What was traded',
    `notional` Int64 COMMENT 'price x quantity in money: what the seller receives [1e-8 of the currency]',
    `tax` Int64 COMMENT 'Sales tax, paid by the buyer on top to the government [1e-8 of the currency]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, instrument, seq)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'A buyer and a seller met';

CREATE TABLE IF NOT EXISTS trading_halted
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `seq` Int64 COMMENT 'Dense counter of the instrument\'s output; (run, instrument, seq) is the identity of this record',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `reason` Enum8('circuit_breaker' = 0, 'operator' = 1) COMMENT 'Why',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, instrument, seq)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Orders are refused until TradingResumed';

CREATE TABLE IF NOT EXISTS trading_resumed
(
    `run` Int64 COMMENT 'Run that the record belongs to',
    `instrument` Int64 COMMENT 'Instrument, see InstrumentListed',
    `seq` Int64 COMMENT 'Dense counter of the instrument\'s output; (run, instrument, seq) is the identity of this record',
    `tick` Int64 COMMENT 'Simulated time of the event [tick (1/60 s at 1x)]',
    `kafka_partition` Int32 COMMENT 'Partition of the log that the record was read from',
    `kafka_offset` Int64 COMMENT 'Offset of the record in its partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY run
ORDER BY (run, instrument, seq)
SETTINGS non_replicated_deduplication_window = 1000
COMMENT 'Orders are accepted again';
