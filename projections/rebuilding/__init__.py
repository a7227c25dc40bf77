"""Rebuilding: tables folded afresh beside the live ones and exchanged for them at once.

Processes fold ranges of streams and copy the rows into new tables (filling); these get their indexes
(new_tables); what was recorded meanwhile is folded too (catching_up); a short transaction puts them in the
place of the live ones (swapping). Until then nothing that anybody reads is touched, so a rebuild may be
stopped anywhere; what it leaves behind the next one clears away.
"""
