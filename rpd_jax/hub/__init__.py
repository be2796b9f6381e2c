"""What is made here, to and from the Hugging Face hub: students, exports, recordings, Octo's checkpoints."""
