-- Takes the ways to append that came with revision 0009 away again.

-- name: append_contended_v3
DROP PROCEDURE ledger.append_contended_v3

-- name: append_events_v3
DROP FUNCTION ledger.append_events_v3
