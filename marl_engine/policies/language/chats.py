"""Prompts as chats: what a model is given, message by message, and the text that judges and people read."""

Message = dict[str, str]  # its role, one of ROLES, and its content
Chat = list[Message]
Prompt = str | Chat  # a text is what the user says
ROLES = ("system", "user", "assistant")


def question(text: str) -> Chat:
    """Returns a chat with a single message of the user."""
    return [{"role": "user", "content": text}]


def transcript(chat: Chat) -> str:
    """Returns the text of a chat: the message, or each message after its role.

    Roles are omitted if there is only one message, of the user.
    """
    if len(chat) == 1 and chat[0]["role"] == "user":
        return chat[0]["content"]
    return "\n\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in chat)


def opening(chat: Chat) -> str:
    """Returns the text that a model without a chat template continues."""
    return transcript(chat) if len(chat) == 1 else f"{transcript(chat)}\n\nAssistant:"
