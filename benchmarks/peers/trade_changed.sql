-- What the peers' dashboards listen to: each trade that is opened or changed, as JSON, with its account.
CREATE FUNCTION trade_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('trade_changed', json_build_object(
        'accountId', (SELECT account_id FROM trading_sessions WHERE id = NEW.session_id),
        'tradeChanged', json_build_object(
            'id', NEW.id, 'symbol', NEW.symbol, 'direction', NEW.direction, 'entryPrice', NEW.entry_price::text,
            'size', NEW.size::text, 'pnl', NEW.pnl::text, 'status', NEW.status
        )
    )::text);
    RETURN NULL;
END $$;

CREATE TRIGGER trade_changed AFTER INSERT OR UPDATE ON trades FOR EACH ROW EXECUTE FUNCTION trade_changed();
