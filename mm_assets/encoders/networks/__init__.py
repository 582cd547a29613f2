"""The torch modules that encoders build; each is part of the exported graph."""
