-- The proxy through which a tunnel led, where the gateway did not go directly.
ALTER TABLE entry ADD COLUMN next_proxy TEXT;
