-- When an order moved money for good; the accounting file asks by it. The first time stays, whatever happens to the order later.
ALTER TABLE orders ADD COLUMN settled_at_ms BIGINT;
CREATE INDEX orders_settled ON orders (settled_at_ms, merchant_id, merchant_trade_no) WHERE settled_at_ms IS NOT NULL;

-- What was read before this column was there is read again from order-states.
DELETE FROM positions;
