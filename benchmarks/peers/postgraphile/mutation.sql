-- A custom mutation, PostGraphile's way to do more than change one row: the same lock, the same change of the
-- current row and the same line of audit that our mutation makes.
CREATE SCHEMA postgraphile;

CREATE FUNCTION postgraphile.update_risk_limits(
    account_id uuid,
    max_daily_loss numeric,
    max_position_size numeric,
    max_open_positions integer,
    risk_per_trade numeric
) RETURNS public.risk_settings LANGUAGE plpgsql VOLATILE STRICT AS $$
#variable_conflict use_variable
DECLARE
    before public.risk_settings;
    after public.risk_settings;
BEGIN
    PERFORM FROM public.tradelocker_accounts a WHERE a.id = account_id FOR NO KEY UPDATE;
    SELECT r.* INTO before FROM public.risk_settings r WHERE r.account_id = update_risk_limits.account_id
    ORDER BY coalesce(r.updated_at, '-infinity') DESC, r.id DESC LIMIT 1 FOR UPDATE;
    UPDATE public.risk_settings r SET
        max_daily_loss = update_risk_limits.max_daily_loss,
        max_position_size = update_risk_limits.max_position_size,
        max_open_positions = update_risk_limits.max_open_positions,
        risk_per_trade = update_risk_limits.risk_per_trade,
        updated_at = greatest(clock_timestamp(), r.updated_at)
    WHERE r.id = before.id RETURNING r.* INTO after;
    INSERT INTO public.system_logs (level, component, message, details) VALUES (
        'INFO', 'risk', 'risk settings updated for account ' || account_id,
        jsonb_build_object('before', to_jsonb(before), 'after', to_jsonb(after))
    );
    RETURN after;
END $$;
