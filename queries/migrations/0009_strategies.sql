ALTER TABLE agent_decided MODIFY COLUMN `strategy` Enum8('rule' = 0, 'full_cost' = 1, 'chartist' = 2, 'buy_and_hold' = 3, 'inventory' = 4, 'inflation_targeting' = 5) COMMENT 'Rule followed';
