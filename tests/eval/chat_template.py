#!/usr/bin/env python3
"""Compares `facet-model render` with an official chat template on generated conversations.

    chat_template.py TEMPLATE FACET_MODEL GGUF [-n 3000] [--seed 1]

TEMPLATE is the template's text, for example chat_template.jinja of google/gemma-4-31B-it (Gemma 4) or google/gemma-3-4b-it
(Gemma 3; --gemma3). GGUF may be a file without tensors. Needs jinja2 3.1 (tests/eval/requirements.txt). Gemma 4's template of
2026-07-09 is changed in the two places where chat_gemma4.cc says that it differs. Prints the first difference, and exits with 1 if
there is any.
"""
import argparse
import json
import random
import subprocess
import sys

import jinja2.ext
import jinja2.sandbox

NAMES = ["get_weather", "now", "f", "add-event", "ns.tool", "Lookup2"]
KEYS = ["city", "City", "unit", "a", "B", "b", "_x", "value", "a b", "x-1", "date_time", "9", "name", "type", "items", "title",
        "description", "properties", "required", "nullable", "enum", "söze"]
WORDS = ["Oslo", "hello", " ", "\n", "  \t", "é", "日本", "👋🏽", "\"", "'", "\\", "{", "}", "<turn|>", "<|\"|>", "None", "x",
         "<|channel>thought\nhm<channel|>", "<channel|>", "<|channel>", "\u00a0", "\u2028", "\u3000", "\x1f", "a,b:c", "", "1.0"]
TYPES = ["string", "integer", "number", "boolean", "array", "object", "STRING", "Object", "null"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, p):
        return self.random.random() < p

    def text(self, most=5):
        return "".join(self.random.choice(WORDS) for _ in range(self.random.randint(0, most)))

    def number(self):
        r = self.random
        return r.choice([r.randint(-5, 5), r.randint(-10**20, 10**20), r.random(), r.uniform(-1, 1) * 10.0 ** r.randint(-30, 30), 1.0,
                         0.0, -0.0, 1e16, 1e15, 123456789012345680.0, 0.0001, 0.00001, 1e22, 5e-324, 1.7976931348623157e308])

    def value(self, depth=3):
        kind = self.random.randint(0, 6 if depth else 4)
        if kind == 0:
            return None
        if kind == 1:
            return self.chance(0.5)
        if kind == 2:
            return self.number()
        if kind in (3, 4):
            return self.text()
        if kind == 5:
            return [self.value(depth - 1) for _ in range(self.random.randint(0, 3))]
        return self.object(depth)

    def object(self, depth=3):
        return {self.random.choice(KEYS): self.value(depth - 1) for _ in range(self.random.randint(0, 4))}

    def schema(self, depth=3):
        made = {}
        if self.chance(0.9):
            made["type"] = self.random.choice(TYPES)
            if self.chance(0.1):
                made["type"] = self.random.sample(TYPES, 2)
        kind = made.get("type")
        kind = kind.lower() if isinstance(kind, str) else None
        if self.chance(0.6):
            made["description"] = self.text()
        if self.chance(0.3):
            made["enum"] = [self.value(1) for _ in range(self.random.randint(0, 3))]
        if self.chance(0.2):
            made["nullable"] = self.random.choice([True, False, None, 0, 1])
        if depth and (kind == "array" or self.chance(0.1)):
            made["items"] = self.random.choice([self.schema(depth - 1), {}, None, True])
        if depth and (kind == "object" and self.chance(0.8) or self.chance(0.1)):
            made["properties"] = self.properties(depth - 1)
        if self.chance(0.3):
            made["required"] = [self.random.choice(KEYS) for _ in range(self.random.randint(0, 3))]
        for key, value in [("title", self.text()), ("anyOf", [{"type": "string"}, {"type": "null"}]), ("default", self.value(1)),
                           ("additionalProperties", self.random.choice([False, {"type": "string"}])), ("minimum", self.number())]:
            if self.chance(0.1):
                made[key] = value
        items = list(made.items())
        self.random.shuffle(items)
        return dict(items)

    def properties(self, depth):
        return {self.random.choice(KEYS): self.schema(depth) for _ in range(self.random.randint(0, 4))}

    def tool(self):
        function = {"name": self.random.choice(NAMES)}
        if self.chance(0.9):
            function["description"] = self.text()
        if self.chance(0.9):
            schema = self.schema()
            schema.pop("properties", None)
            if self.chance(0.9):
                schema["properties"] = self.properties(3)
            if self.chance(0.9):
                schema["type"] = "object"
            function["parameters"] = self.random.choice([schema] * 9 + [{}, None])
        if self.chance(0.2):
            function["response"] = {k: v for k, v in self.schema(0).items() if k in ("description", "type")}
        return {"type": "function", "function": function}

    def content(self, parts, media=True):
        kind = self.random.randint(0, 5)
        if kind == 0:
            return None
        if kind == 1 and parts:
            made = [{"type": "text", "text": self.text()} for _ in range(self.random.randint(0, 3))]
            if media and self.chance(0.4):
                made.insert(self.random.randint(0, len(made)), {"type": self.random.choice(["image", "audio", "video"])})
            return made
        return self.text()

    def assistant(self):
        message = {"role": "assistant", "content": self.content(True)}
        if self.chance(0.3):
            message[self.random.choice(["reasoning", "reasoning_content"])] = self.text()
        if self.chance(0.5):
            message["tool_calls"] = [
                {"id": f"c{i}", "type": "function", "function": {"name": self.random.choice(NAMES), "arguments": self.object()}}
                for i in range(self.random.randint(0, 3))]
        if self.chance(0.2):
            message["tool_responses"] = [{"name": self.random.choice(NAMES), "response": self.value()}
                                         for _ in range(self.random.randint(0, 2))]
        return message

    def conversation(self):
        messages = []
        if self.chance(0.4):
            messages.append({"role": self.random.choice(["system", "developer"]), "content": self.text()})
            if self.chance(0.2):
                messages[0]["content"] = [{"type": "text", "text": self.text()} for _ in range(2)]
        for _ in range(self.random.randint(0 if messages else 1, 8)):
            roles = ["user", "user", "assistant", "assistant", "tool", "tool"] + ["system", "developer"] * bool(messages)
            role = self.random.choice(roles)
            if role == "assistant":
                messages.append(self.assistant())
            elif role == "tool":
                messages.append({"role": "tool", "content": self.content(True)})
                if self.chance(0.7):
                    messages[-1]["tool_call_id"] = f"c{self.random.randint(0, 3)}"
                if self.chance(0.5):
                    messages[-1]["name"] = self.random.choice(NAMES)
            else:
                messages.append({"role": role, "content": self.content(True)})
        made = {"messages": messages, "add_generation_prompt": self.chance(0.7)}
        if self.chance(0.5):
            made["tools"] = [self.tool() for _ in range(self.random.randint(0, 3))]
        if self.chance(0.6):
            made["enable_thinking"] = self.chance(0.5)
        return made

    def gemma3(self):
        messages = []
        if self.chance(0.5):
            messages.append({"role": "system", "content": self.text()})
        for i in range(self.random.randint(1, 6)):
            content = self.content(True) or ""
            if isinstance(content, list):
                content = [part for part in content if part["type"] in ("text", "image")]
            messages.append({"role": "assistant" if i % 2 else "user", "content": content})
        return {"messages": messages, "add_generation_prompt": self.chance(0.7)}


def replaced(template, old, new):
    if old not in template:
        sys.exit(f"the template has no {old!r}: another revision?")
    return template.replace(old, new)


def load(path, gemma3):
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                              extensions=[jinja2.ext.loopcontrols])

    def raise_exception(message):
        raise ValueError(message)

    environment.globals["raise_exception"] = raise_exception
    with open(path, encoding="utf-8") as file:
        template = file.read()
    if not gemma3:
        template = replaced(template, " and not next_nt.found)", ")")
        template = replaced(template, "ns.prev_message_type == 'tool_response' and enable_thinking", "false")
    return environment.from_string(template)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("template")
    parser.add_argument("facet_model")
    parser.add_argument("gguf")
    parser.add_argument("-n", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--gemma3", action="store_true")
    arguments = parser.parse_args()
    template = load(arguments.template, arguments.gemma3)
    maker = Maker(arguments.seed)
    chats = [maker.gemma3() if arguments.gemma3 else maker.conversation() for _ in range(arguments.n)]
    lines = "".join(json.dumps(chat) + "\n" for chat in chats)
    run = subprocess.run([arguments.facet_model, "render", arguments.gguf, "--jsonl"], input=lines.encode(), capture_output=True,
                         check=True)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    same = refused = 0
    first = None
    for chat, answer in zip(chats, answers, strict=True):
        try:
            expected = template.render(bos_token="<bos>", tools=None, **chat) if "tools" not in chat else template.render(
                bos_token="<bos>", **chat)
        except (ValueError, TypeError, jinja2.exceptions.TemplateError):
            refused += 1
            continue
        if answer.get("text") == expected:
            same += 1
        elif first is None:
            first = (chat, answer, expected)
    print(f"{len(chats)} conversations: {same} the same, {len(chats) - same - refused} different, {refused} that the template refuses")
    if first:
        print(json.dumps(first[0], ensure_ascii=False), "\nfacet:   ", repr(first[1]), "\ntemplate:", repr(first[2]))
    return 1 if first else 0


if __name__ == "__main__":
    sys.exit(main())
