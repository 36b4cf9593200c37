-- When a payment was paid or a refund given back for good, and when a payment was taken back; the accounting file asks by these.
ALTER TABLE orders ADD COLUMN settled_at_ms BIGINT;
ALTER TABLE orders ADD COLUMN cancelled_at_ms BIGINT;
CREATE INDEX orders_settled ON orders (settled_at_ms, merchant_id, merchant_trade_no) WHERE settled_at_ms IS NOT NULL;
CREATE INDEX orders_cancelled ON orders (cancelled_at_ms, merchant_id, merchant_trade_no) WHERE cancelled_at_ms IS NOT NULL;

-- What was read before these columns were there is read again from order-states.
DELETE FROM positions;
