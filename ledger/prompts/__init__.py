"""Prompt packs: the named, versioned prompts a run is started with. There is no default pack: a
run names one, or it does not start.

files      prompt files and their front matter, read and written
loading    what a pack is, and the reader's side: a version, the newest, a list
diff       what differs between two versions
decisions  publishing, revising and retiring as an aggregate of the `eventsourcing` library
packing    the same from a coroutine: what `tenant.prompts` is
"""

from ledger.prompts.loading import MOCK_PACK, PromptPack, PromptPackLoader, PromptPackSummary, mock_pack

__all__ = ["MOCK_PACK", "PromptPack", "PromptPackLoader", "PromptPackSummary", "mock_pack"]
