DROP TRIGGER events_noticed ON events;
DROP FUNCTION notify_events();
