#!/usr/bin/env python3
"""How well the story teller tells, by the sampler's options: what its defaults were chosen by.

    python3 benches/stories.py --text tinystories.txt
    python3 benches/stories.py --text tinystories.txt --seeds 100 --options 0.6/0.8/0/0,1/0.5/100/0

Options are temperature/top-p/top-k/min-p. For each, `kinglet run` tells a story with every seed from 1,
and a line of a Markdown table says of them all

* words that are in no story of the text, in thousandths, and the stories that have one;
* the share of fours of words that came before in the same story, and the stories in which eight
  words come again: loops;
* the stories that ended by themselves within 512 tokens;
* their mean length in words, and how many of 100 begin with the same 12 words as another.

The text is that of the data set (TinyStories), one file. Only the standard library is needed.
"""

import argparse
import collections
import re
import subprocess
import sys

OPTIONS = "0.8/0.9/0/0,0.7/0.9/0/0,0.7/0.8/0/0,0.6/0.9/0/0,0.6/0.8/0/0,0.5/0.8/0/0,1/0.5/100/0,1/1/0/0.2,0.8/1/0/0.1"
WORD = re.compile(r"[a-z']+")


def words(text):
    return WORD.findall(text.lower())


def runs(told, length):
    """All runs of that many words."""
    return zip(*(told[start:] for start in range(length)))


def story(kinglet, model, options, seed, tokens):
    """A story, and whether it ended by itself."""
    temperature, top_p, top_k, min_p = options
    command = [kinglet, "run", "-n", str(tokens), "--seed", str(seed), "--temp", temperature]
    command += ["--top-p", top_p, "--top-k", top_k, "--min-p", min_p, "-t", "1"]
    command += ["-m", model] if model else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = int(re.search(r"(\d+) tokens, \d+ tokens/s", done.stderr).group(1))
    return done.stdout, told < tokens


def measure(stories, known):
    """The figures of a line."""
    unknown = total = with_unknown = repeated = fours = looping = 0
    for text, _ in stories:
        told = words(text)
        strange = [word for word in told if word.strip("'") not in known]
        unknown += len(strange)
        with_unknown += bool(strange)
        total += len(told)
        counts = collections.Counter(runs(told, 4))
        fours += sum(counts.values())
        repeated += sum(count - 1 for count in counts.values())
        looping += any(count > 1 for count in collections.Counter(runs(told, 8)).values())
    beginnings = collections.Counter(tuple(words(text)[:12]) for text, _ in stories)
    alike = sum(count for count in beginnings.values() if count > 1)
    number = len(stories)
    return [
        f"{1000 * unknown / total:.2f}",
        f"{100 * with_unknown / number:.0f} %",
        f"{100 * repeated / fours:.2f} %",
        f"{100 * looping / number:.0f} %",
        f"{100 * sum(ended for _, ended in stories) / number:.0f} %",
        f"{total / number:.0f}",
        f"{100 * alike / number:.0f} %",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", required=True, help="stories that the model learned from")
    parser.add_argument("--kinglet", default="target/release/kinglet")
    parser.add_argument("--model", help="another model than the built-in one")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--options", default=OPTIONS, help="temperature/top-p/top-k/min-p, by commas")
    options = parser.parse_args()
    with open(options.text, encoding="utf-8") as file:
        known = {word.strip("'") for word in words(file.read())}
    print("| temperature | top-p | top-k | min-p | strange words, ‰ | in stories | fours again | loops "
          "| end | words | alike |")
    print("|" + "--:|" * 11)
    for choice in options.options.split(","):
        choice = choice.split("/")
        told = [story(options.kinglet, options.model, choice, seed, options.tokens)
                for seed in range(1, options.seeds + 1)]
        print("| " + " | ".join(choice + measure(told, known)) + " |")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
