# SPDX-License-Identifier: Apache-2.0
"""Order decides who is first, not time: one worker and many come to the same end."""
import os
import shutil
import unittest

import sendit


class First(sendit.Case):
    def fill(self, site):
        """The same instance in each of eight batches; in every second one its content differs."""
        for batch in range(8):
            for number in range(1, 6):
                site.add(sendit.make_image(number, KVP=str(80 + batch % 2)), "b%d" % batch,
                         "IM%d" % number)

    def outcome(self, site, workers):
        answer = self.run_json("--workers", str(workers), site=site)
        return {name: answer[name] for name in ("stored", "quarantined", "ignored", "failed")}

    def test_the_same_with_one_worker_and_with_eight(self):
        self.fill(self.site)
        one = self.outcome(self.site, 1)
        self.assertEqual(one, {"stored": 5, "ignored": 15, "quarantined": 20, "failed": 0})
        for workers in (2, 8):
            with self.subTest(workers=workers):
                other = self.new_site()
                self.fill(other)
                self.assertEqual(self.outcome(other, workers), one)
                self.assertEqual(sendit.tree(other.clean), sendit.tree(self.site.clean))

    def test_one_that_its_store_holds_makes_room(self):
        """The first batch meets another content in clean and is held when it finishes: whether the
        second is taken must not depend on how far the first one was."""
        self.fill(self.site)
        self.outcome(self.site, 1)
        before = os.path.join(self.folder, "before")
        shutil.copytree(self.site.clean, before)
        victim = sendit.images(before)[0]
        with open(victim, "r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\xff")
        ends = []
        for workers in (1, 8):
            site = self.new_site()
            self.fill(site)
            shutil.copytree(before, site.clean)
            ends.append((self.outcome(site, workers), sendit.tree(site.clean)))
        self.assertEqual(ends[0], ends[1])
        self.assertGreater(ends[0][0]["quarantined"], 20)


if __name__ == "__main__":
    unittest.main()
