"""Verifying: the events folded afresh and compared with the live tables, row by row and by digest, at the
checkpoint, all in one snapshot. It changes nothing."""
