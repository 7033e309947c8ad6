"""Prompts that are chats: what a model is asked, message by message, and what a judge and a person read of it."""

Message = dict[str, str]  # its role, one of ROLES, and its content
Chat = list[Message]
Prompt = str | Chat  # a text is what the user says
ROLES = ("system", "user", "assistant")


def question(text: str) -> Chat:
    """A chat of one message of the user's."""
    return [{"role": "user", "content": text}]


def transcript(chat: Chat) -> str:
    """What the user says where that is all, and else every message behind its role."""
    if len(chat) == 1 and chat[0]["role"] == "user":
        return chat[0]["content"]
    return "\n\n".join(f"{message['role'].capitalize()}: {message['content']}" for message in chat)


def opening(chat: Chat) -> str:
    """What a model without a template goes on from: the transcript, and of several messages whose turn it is."""
    return transcript(chat) if len(chat) == 1 else f"{transcript(chat)}\n\nAssistant:"
