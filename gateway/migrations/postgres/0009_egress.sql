-- The proxy through which a tunnel led, where the gateway did not go directly.
ALTER TABLE entry ADD COLUMN next_proxy TEXT;

-- A lease that counts as used until its window is over, whatever becomes of its gateway: what it used is in no sum.
ALTER TABLE lease ADD COLUMN lasting BOOLEAN NOT NULL DEFAULT false;
