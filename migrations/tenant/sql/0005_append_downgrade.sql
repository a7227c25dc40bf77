-- Takes the ways to append that came with revision 0005 away again.

-- name: append_contended_v2
DROP PROCEDURE ledger.append_contended_v2

-- name: append_events_v2
DROP FUNCTION ledger.append_events_v2

-- name: head_advances_dropped
DROP TRIGGER only_advances ON ledger.head

-- name: head_advances
CREATE TRIGGER only_advances BEFORE UPDATE ON ledger.head
    FOR EACH ROW EXECUTE FUNCTION ledger.head_only_advances_v1()

-- name: head_advances_always
ALTER TABLE ledger.head ENABLE ALWAYS TRIGGER only_advances
