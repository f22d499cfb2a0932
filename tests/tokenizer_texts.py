"""Texts that tokenizers are compared on: every kind of border that cuts or merges can cross."""

import random

__all__ = ["TEXTS", "random_texts"]

TEXTS = (
    "",
    " ",
    "  ",
    "     ",
    "\n",
    "\n\n\n",
    "\t",
    " \n \n",
    "\r\n\r",
    "It is a truth universally acknowledged, that a single man",
    " leading",
    "   three leading",
    "trailing ",
    "trailing   ",
    "two  spaces   three    four",
    "\ttab first\tand\t\tbetween ",
    "line\nline\n\nparagraph\n   indented\n",
    "line\r\nline\rline",
    "I'm you're they've we'll he'd isn't it's",
    "IT'S DON'T I'M YOU'RE THEY'VE WE'LL HE'D",
    "'tis 'twas rock'n'roll ''quoted''",
    "3.14159 1234567890 12 123 1,000,000 -7 1e-5 0x1F",
    "2026-11-21 10:45:00 v1.2.3 3rd 42nd",
    "camelCase HTTPServer snake_case kebab-case CONSTANT_NAME x1y2",
    "café naïve Ångström Straße coöperate",
    "cafe\u0301 nai\u0308ve A\u030angstro\u0308m",
    "a\u0300\u0301\u0302b \u0301first",
    "日本語のテキスト。漢字かな交じり文",
    "中文字符测试，标点。“引号”",
    "한국어 텍스트입니다",
    "Привет, мир! Ещё раз",
    "Γειά σου Κόσμε",
    "שלום עולם",
    "مرحبا بالعالم ١٢٣",
    "नमस्ते दुनिया १२३",
    "สวัสดีชาวโลก",
    "½ ⅷ ² ① Ⅻ ៣",
    "🎉🚀 party",
    "👩‍👩‍👧‍👦 👍🏽 🇩🇪 ❤️",
    "a\u00a0b\u2003c\u3000d",
    "zero\u200bwidth \ufeffmark",
    "\ue000 private \U0010fffd last",
    "\x00\x01\x07 control \x7f\x80\x9f",
    "def f(x):\n    return x ** 2  # square\n\n\nclass Leaf:\n\tpass\n",
    "for (int i = 0; i < 10; i++) { a[i] += b[i]; }",
    '{"key": [1, 2.5, null], "text": "a\\nb"}',
    "<div class='x'>&amp;</div>",
    "gopher://example.net/a/b?c=d&e=%20f#g",
    "____----====####....",
    "!!!???...,,,;;;:::",
    "$100 + €200 = £300 ± 5%",
    "(a)[b]{c}<d>|e|\\f/g",
    "^caret ~tilde `tick` @at #hash *star*",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "the the the the thethethe",
    "İstanbul ıI ǅ ﬁ",
    "𝒜𝓁𝓅𝒽𝒶 𐍈𐌰",
    "<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\n",
    "before<|endoftext|>after",
    " <|im_end|> spaced <|im_end|> ",
    "<|im_start|><|im_end|><|endoftext|>",
    "<|im_start |> <|im_ end|> <|unknown|>",
    "<s>not special everywhere</s> [INST] <unk> <0x0A>",
)

POOLS = (
    "abcdefghijklmnopqrstuvwxyz",
    "ABCXYZ",
    "   \n\t",
    "0123456789",
    ".,:;!?'\"()[]{}<>$+=^`|~@#%&*-_/\\",
    "éèüñçøå",
    "漢字かなカナ한글",
    "مرحباשלום",
    "नमस्ते",
    "\u0301\u0308\u0323",
    "🎉🚀👩\u200d💻",
    "½²١٤",
    "\u00a0\u3000\u2009",
)


def random_texts(count: int, seed: int) -> list[str]:
    """Letters drawn from one alphabet after another, so that all borders come up."""
    generator = random.Random(seed)
    return [
        "".join(generator.choice(generator.choice(POOLS)) for _ in range(generator.randint(1, 40)))
        for _ in range(count)
    ]
