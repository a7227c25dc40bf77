"""The LLM catalogue: which models there are, what they cost, and which one a step uses.

provider  whoever serves models: an address, and the name of the environment variable that holds its key
model     one of a provider's models, with its context window, its price and what it can do
default   the one model of a step, with the parameters it is called with: there is one, or none
"""

from ledger.control.llm.catalogue import LlmCatalogue as LlmCatalogue
from ledger.control.llm.records import LlmModel as LlmModel
from ledger.control.llm.records import LlmProvider as LlmProvider
from ledger.control.llm.records import ModelRef as ModelRef
from ledger.control.llm.records import Price as Price
from ledger.control.llm.records import ResolvedLlm as ResolvedLlm
from ledger.control.llm.records import StepLlmDefault as StepLlmDefault
from ledger.control.llm.records import model_id_of as model_id_of
