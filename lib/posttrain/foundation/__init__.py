"""The pocket foundation models: tokenizer, corpus, pretraining, gates."""
