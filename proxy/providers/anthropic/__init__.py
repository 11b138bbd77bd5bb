"""Anthropic, by its own messages API: chats go out as messages, messages come back as chats."""
