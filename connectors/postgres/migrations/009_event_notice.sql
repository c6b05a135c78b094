-- Whoever passes events on learns of new ones as soon as their transaction has committed.

CREATE OR REPLACE FUNCTION notify_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- one transaction tells it once, however many statements it has
    PERFORM pg_notify('weir_events', '');
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER events_noticed AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION notify_events();
