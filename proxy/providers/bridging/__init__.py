"""Responses for models that only chat, chat completions for models that only speak responses.

`ways` says who needs it, `adapter` is the decorator around every adapter, `to_chat` and
`to_responses` write the other request, `response_events` and `chat_chunks` turn the answer back.
"""
