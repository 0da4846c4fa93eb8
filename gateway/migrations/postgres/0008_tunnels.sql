-- Where a tunnel really led: the address that its destination resolved to, and that was dialled.
ALTER TABLE entry ADD COLUMN address TEXT;
