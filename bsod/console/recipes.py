"""The first call with libraries that build on OpenAI's API, against the visitor's own host.

Like the quick start: one model that answers, a key to paste, and nothing else to change.
"""

import json


def recipes(base: str, model: str, key: str = "YOUR_KEY") -> list[tuple[str, str, str]]:
    """(id, name, code) for each library."""
    name = json.dumps(model, ensure_ascii=False)
    return [
        ("langchain", "LangChain", f"""# pip install langchain-openai
from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model={name},
    base_url="{base}/v1",
    api_key="{key}",
)
print(model.invoke("Hi").content)"""),
        ("llamaindex", "LlamaIndex", f"""# pip install llama-index-llms-openai-like
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model={name},
    api_base="{base}/v1",
    api_key="{key}",
    is_chat_model=True,
)
print(model.complete("Hi"))"""),
        ("vercel", "Vercel AI SDK", f"""// npm install ai @ai-sdk/openai-compatible
import {{ createOpenAICompatible }} from "@ai-sdk/openai-compatible";
import {{ generateText }} from "ai";

const bsod = createOpenAICompatible({{
  name: "bsod",
  baseURL: "{base}/v1",
  apiKey: "{key}",
}});
const {{ text }} = await generateText({{
  model: bsod({name}),
  prompt: "Hi",
}});
console.log(text);"""),
        ("litellm", "LiteLLM", f"""# pip install litellm
from litellm import completion

answer = completion(
    model={json.dumps("openai/" + model, ensure_ascii=False)},
    api_base="{base}/v1",
    api_key="{key}",
    messages=[{{"role": "user", "content": "Hi"}}],
)
print(answer.choices[0].message.content)"""),
    ]  # fmt: skip
