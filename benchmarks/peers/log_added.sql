-- What the peers' subscriptions listen to, as their documentation suggests it: each new row, as JSON.
CREATE FUNCTION log_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('log_added', json_build_object(
        'id', NEW.id, 'timestamp', NEW.timestamp, 'level', NEW.level, 'component', NEW.component,
        'message', NEW.message
    )::text);
    RETURN NULL;
END $$;

CREATE TRIGGER log_added AFTER INSERT ON system_logs FOR EACH ROW EXECUTE FUNCTION log_added();
