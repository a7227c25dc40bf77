"""`daicho demo`: text files become articles through a pipeline of activities that computes every
step for real, so that the ledger has real retries, repairs and failures to show. No model is called."""
