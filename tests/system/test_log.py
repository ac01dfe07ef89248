# SPDX-License-Identifier: Apache-2.0
"""Log lines: JSON for programs, plain and coloured for a terminal, at the level that was asked."""
import json
import os
import pty
import re
import select
import subprocess
import time
import unittest

import sendit

LEVELS = ("debug", "info", "warn", "error")
BECAUSE = "phantoms only, by the data board"


class Log(sendit.Case):
    """A site that says something at each level: a warning at its start (a lowered policy), two
    batches of three images, one of which is held.  (A batch that is done again says it again.)"""

    def setUp(self):
        super().setUp()
        self.fill()

    def another(self):
        self.site = self.new_site()
        self.fill()

    def fill(self):
        self.site.add_images(3, study=1)
        self.site.add_images(2, study=2)
        self.site.add(sendit.make_image(9, 2, BurnedInAnnotation="YES"), "study2", "IM00009")
        self.site.write_pipeline(policy={"egress_needs": ["pixels.checked", "ids.replaced"],
                                         "because": BECAUSE})

    def lines(self, *args, level=None, **more):
        env = dict(os.environ, **more)
        env.pop("SENDIT_LOG", None)
        if level:
            env["SENDIT_LOG"] = level
        result = self.run_sendit("run", *args, env=env)
        return [json.loads(line) for line in result.err.splitlines()]

    def levels(self, *args, **more):
        return {line["level"] for line in self.lines(*args, **more)}

    def test_a_line_is_json(self):
        for line in self.lines("-vv"):
            self.assertLessEqual({"time", "level", "event", "text"}, set(line))
            self.assertLessEqual(set(line), {"time", "level", "stage", "batch", "image", "event",
                                             "text"})
            self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
            self.assertIn(line["level"], LEVELS)
            self.assertRegex(line["event"], r"^[a-z_-]+\.[a-z_-]+$")

    def test_levels(self):
        for args, level, wanted in (((), None, {"warn"}), (("-v",), None, {"warn", "info"}),
                                    (("-vv",), None, {"warn", "info", "debug"}),
                                    (("-vvvv",), None, {"warn", "info", "debug"}),
                                    (("-q",), None, set()), (("-qq",), None, set()),
                                    ((), "debug", {"warn", "info", "debug"}),
                                    ((), "info", {"warn", "info"}), ((), "warn", {"warn"}),
                                    ((), "error", set()), ((), "off", set()),
                                    (("-v",), "error", {"warn", "info"}),
                                    (("-q",), "debug", set())):
            with self.subTest(args=args, level=level):
                self.another()
                self.assertEqual(self.levels(*args, level=level), wanted)

    def test_the_last_word_is_said_at_every_level(self):
        """It is the answer of the command, no log line."""
        self.site.add_bytes(b"no folder", "..", "clean")
        for args in ((), ("-q",), ("-qq",)):
            self.assertRegex(self.run_sendit("run", *args, expect=4).err, r"(?m)^sendit: ")

    def test_one_line_a_batch_at_info(self):
        lines = [line for line in self.lines("-v") if line["level"] == "info"]
        self.assertEqual(sorted(line["batch"] for line in lines), ["b1", "b2"])
        for line in lines:
            self.assertEqual(line["event"], "batch.closed")
            self.assertNotIn("image", line)
        self.assertEqual({line["text"] for line in lines}, {"DONE: found 3"})

    def test_one_line_an_image_at_debug(self):
        lines = [line for line in self.lines("-vv") if line["level"] == "debug"]
        images = sorted(line["image"] for line in lines if "image" in line)
        self.assertEqual(images, ["b1-%06d" % i for i in range(1, 4)] +
                         ["b2-%06d" % i for i in range(1, 4)])
        events = sorted(line["event"] for line in lines if "image" in line)
        self.assertEqual(events, ["image.passed"] * 5 + ["pixel.burned_in"])
        self.assertEqual([line["stage"] for line in lines if line["event"] == "pixel.burned_in"],
                         ["pixel-check"])

    def test_no_value_at_any_level(self):
        for args in ((), ("-v",), ("-vv",)):
            self.another()
            self.site.add(sendit.make_image(20, 3, name="Weidenbach^Rosa", patient="QX-77123",
                                            AccessionNumber="ACC-9911"), "WEIDENBACH", "ROSA")
            self.site.add_bytes(b"Weidenbach" * 50, "WEIDENBACH", "ROSA2")
            result = self.run_sendit("run", *args)
            for word in ("Weidenbach", "QX-77123", "QX77123", "ACC-9911", "ROSA", "19610703",
                         sendit.UID, self.site.data):
                self.assertNotIn(word.casefold(), result.err.casefold())

    # ---- on a terminal ----

    def on_terminal(self, *args, **more):
        """What a terminal gets as stderr of a run."""
        env = dict({key: value for key, value in os.environ.items()
                    if key not in ("NO_COLOR", "SENDIT_LOG")}, **dict({"TERM": "xterm"}, **more))
        ours, theirs = pty.openpty()
        process = subprocess.Popen([self.site.program, "run", *args], cwd=self.site.folder,
                                   env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=theirs)
        os.close(theirs)
        shown, until = b"", time.monotonic() + 120
        while time.monotonic() < until:
            if not select.select([ours], [], [], 1)[0]:
                continue
            try:
                data = os.read(ours, 65536)
            except OSError:
                break  # the last who had the other end is gone
            shown += data
        os.close(ours)
        out = process.communicate(timeout=60)[0].decode()
        self.assertEqual(process.returncode, 0, out)
        return shown.decode(errors="replace")

    def test_plain_and_coloured_on_a_terminal(self):
        shown = self.on_terminal("-vv")
        self.assertNotIn('{"', shown)
        self.assertIn("\r\033[K\033[33mwarn\033[0m: The policy asks for less than the core's "
                      "default: %s\r\n" % BECAUSE, shown)
        self.assertIn("\r\033[Kinfo b1: DONE: found 3\r\n", shown)
        self.assertIn("\033[2mdebug\033[0m pixel-check b2-000003: quarantined: ", shown)

    def test_no_colour_where_nobody_wants_it(self):
        shown = self.on_terminal("-vv", NO_COLOR="1")
        self.assertIn("warn: The policy asks", shown)
        self.assertNotRegex(shown, r"\033\[[0-9;]*m")
        self.another()
        shown = self.on_terminal("-vv", TERM="dumb")
        self.assertIn("warn: The policy asks", shown)
        self.assertNotRegex(shown, r"warn\033")
        self.assertNotRegex(shown, r"\033\[[0-9;]*m")
        self.another()
        shown = self.on_terminal("-v", NO_COLOR="")  # set and empty: not set
        self.assertIn("\033[33mwarn\033[0m", shown)

    def test_a_bar_and_a_line_do_not_mix(self):
        """Each log line wipes what stands in its line, and ends with a newline."""
        shown = self.on_terminal("-vv")
        for line in re.findall(r"[^\n]*(?:debug|info|warn)[^\n]*\n", shown):
            self.assertIn("\r\033[K", line)


if __name__ == "__main__":
    unittest.main()
