"""A Go program for every row of the route table; the standard library is all it needs.

Written as gofmt writes: each must compile as it stands.
"""

import json
from typing import Any

from proxy.route import BodyKind, ReplyKind, Route

_FORM = """
func attach(form *multipart.Writer, field, name string) {
	data, err := os.ReadFile(name)
	if err != nil {
		log.Fatal(err)
	}
	part, err := form.CreateFormFile(field, name)
	if err != nil {
		log.Fatal(err)
	}
	part.Write(data)
}
"""


def program(route: Route, address: str, body: Any, form: tuple[str, ...]) -> str:
    """The call; `body` is its JSON, `form` the fields of its form."""
    lines, sent = _sent(route, body, form)
    file = route.reply is ReplyKind.BYTES
    lines += [
        f'request, err := http.NewRequest("{route.method}", "{address}", {sent})', *_ended(),
        *_heads(route), "answer, err := http.DefaultClient.Do(request)", *_ended(),
        "defer answer.Body.Close()",
    ]  # fmt: skip
    if file:
        lines += ['file, err := os.Create("answer.bin")', *_ended()]
    lines.append(f"io.Copy({'file' if file else 'os.Stdout'}, answer.Body)")
    main = "\n".join(f"\t{line}" for line in lines)
    more = _FORM if route.body is BodyKind.FORM else ""
    return f"package main\n\n{_imports(route)}\n\nfunc main() {{\n{main}\n}}\n{more}".rstrip()


def _sent(route: Route, body: Any, form: tuple[str, ...]) -> tuple[list[str], str]:
    """How the body is made, and what it is called."""
    if route.body is BodyKind.NONE:
        return [], "nil"
    if route.body is not BodyKind.FORM:
        return [f"body := strings.NewReader(`{json.dumps(body, indent=2)}`)"], "body"
    lines = ["var body bytes.Buffer", "form := multipart.NewWriter(&body)"]
    for field in form:
        name, value = field.split("=", 1)
        file = value[0] == "@"
        lines.append(
            f'attach(form, "{name}", "{value[1:]}")' if file
            else f'form.WriteField("{name}", "{value}")'
        )  # fmt: skip
    return [*lines, "form.Close()"], "&body"


def _heads(route: Route) -> list[str]:
    heads = []
    if route.needs_key:
        heads.append('request.Header.Set("Authorization", "Bearer "+os.Getenv("BSOD_KEY"))')
    if route.body is BodyKind.FORM:
        heads.append('request.Header.Set("Content-Type", form.FormDataContentType())')
    elif route.body is not BodyKind.NONE:
        heads.append('request.Header.Set("Content-Type", "application/json")')
    return heads


def _ended() -> list[str]:
    return ["if err != nil {", "\tlog.Fatal(err)", "}"]


def _imports(route: Route) -> str:
    names = {"io", "log", "net/http", "os"}
    if route.body is BodyKind.FORM:
        names |= {"bytes", "mime/multipart"}
    elif route.body is not BodyKind.NONE:
        names.add("strings")
    return "import (\n" + "".join(f'\t"{name}"\n' for name in sorted(names)) + ")"


def quick_start(base: str, model: str, key: str) -> str:
    """The first call with OpenAI's own library; `model` is quoted already."""
    return f"""package main

import (
	"context"
	"fmt"
	"log"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

func main() {{
	client := openai.NewClient(
		option.WithBaseURL("{base}/v1"),
		option.WithAPIKey("{key}"),
	)
	question := openai.ChatCompletionNewParams{{
		Model:    {model},
		Messages: []openai.ChatCompletionMessageParamUnion{{openai.UserMessage("Hi")}},
	}}
	answer, err := client.Chat.Completions.New(context.Background(), question)
	if err != nil {{
		log.Fatal(err)
	}}
	fmt.Println(answer.Choices[0].Message.Content)
}}"""
