"""The exported model behind an interface. Imports no torch."""
