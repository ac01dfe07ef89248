# SPDX-License-Identifier: Apache-2.0
"""The order proof: every way to lose a label is refused before a file is touched."""
import json
import os
import unittest

import sendit

POLICY = ["pixels.checked", "filters.passed", "ids.replaced", "deid.header"]
BEFORE = "stage \"file-store\" hands images out, but nothing before it grants \"%s\"; %s, " \
         "or write why not under policy.because"


class Order(sendit.Case):
    def setUp(self):
        super().setUp()
        self.site.add_images(2)
        self.stages = self.site.stages()

    def refuse(self, line, sentence, *args, expect=3):
        """The sentence, at the entry's place, and nothing touched: no output, no state, no file
        opened (which a time of last access would show)."""
        before = self.access_times()
        self.site.write_key()
        result = self.run_sendit("run", *args, expect=expect)
        self.assert_one_sentence(result, sentence)
        if line:
            # The first entry stands in line 4 of the text that Site writes, the fifth in line 8.
            self.assertRegex(result.err, r"pipeline\.json:%d:5: " % line)
        self.assert_nothing_out()
        self.assertFalse(os.path.exists(self.site.clean))
        self.assertEqual(os.listdir(self.site.state), ["site.key"])
        self.assertEqual(before, self.access_times())
        self.assertEqual(self.site.sendit("plan", *args).status, 3)
        self.assertEqual(self.site.sendit("check", *args).status, 3)

    def access_times(self):
        return {path: os.stat(os.path.join(self.site.data, path)).st_atime_ns
                for path in ("study1/IM00001", "study1/IM00002")}

    def test_shipped_order_passes(self):
        self.site.write_pipeline(self.stages)
        self.assert_counts(self.run_json(), stored=2)

    def test_anonymizer_disabled(self):
        self.stages[3]["enabled"] = False
        self.site.write_pipeline(self.stages)
        self.refuse(8, BEFORE % ("deid.header", "enable \"local-anonymizer\" before it"))

    def test_anonymizer_disabled_on_the_command_line(self):
        self.refuse(8, BEFORE % ("deid.header", "enable \"local-anonymizer\" before it"),
                    "--set", "local-anonymizer.enabled=false")

    def test_anonymizer_behind_the_store(self):
        self.stages[3], self.stages[4] = self.stages[4], self.stages[3]
        self.site.write_pipeline(self.stages)
        self.refuse(7, BEFORE % ("deid.header", "move \"local-anonymizer\" before it"))

    def test_anonymizer_not_there(self):
        del self.stages[3]
        self.site.write_pipeline(self.stages)
        self.refuse(7, BEFORE % ("deid.header", "add \"local-anonymizer\" before it"))

    def test_pixel_check_not_there(self):
        del self.stages[1]
        self.site.write_pipeline(self.stages)
        self.refuse(7, BEFORE % ("pixels.checked", "add \"pixel-check\" before it"))

    def test_pixel_check_disabled(self):
        self.stages[1]["enabled"] = False
        self.site.write_pipeline(self.stages)
        self.refuse(8, BEFORE % ("pixels.checked", "enable \"pixel-check\" before it"))

    def test_pixel_check_behind_the_store(self):
        self.stages.append(self.stages.pop(1))
        self.site.write_pipeline(self.stages)
        self.refuse(7, BEFORE % ("pixels.checked", "move \"pixel-check\" before it"))

    def test_filter_not_there(self):
        del self.stages[2]
        self.site.write_pipeline(self.stages)
        self.refuse(7, BEFORE % ("filters.passed", "add \"deid-filter\" before it"))

    def test_filter_disabled(self):
        self.stages[2]["enabled"] = False
        self.site.write_pipeline(self.stages)
        self.refuse(8, BEFORE % ("filters.passed", "enable \"deid-filter\" before it"))

    def test_filter_behind_the_store(self):
        self.stages.append(self.stages.pop(2))
        self.site.write_pipeline(self.stages)
        self.refuse(7, BEFORE % ("filters.passed", "move \"deid-filter\" before it"))

    def test_filter_behind_the_anonymizer(self):
        """There is nothing left then that it could look at."""
        self.stages[2], self.stages[3] = self.stages[3], self.stages[2]
        self.site.write_pipeline(self.stages)
        self.refuse(6, "stage \"local-anonymizer\" must come after \"deid-filter\"; move "
                       "\"deid-filter\" before it")

    def test_two_filters(self):
        """What the first hands on without the label the second would give it."""
        self.stages.insert(3, dict(self.stages[2], id="again"))
        self.site.write_pipeline(self.stages)
        self.refuse(7, "stage \"again\" must come before \"deid-filter\"")

    def test_only_importer_and_store(self):
        self.site.write_pipeline([self.stages[0], self.stages[4]])
        self.refuse(5, "hands images out, but nothing before it grants")

    def test_store_twice_one_too_early(self):
        early = dict(self.stages[4], id="early")
        self.site.write_pipeline(self.stages[:3] + [early] + self.stages[3:])
        self.refuse(7, "stage \"early\" hands images out, but nothing before it grants "
                       "\"deid.header\"; move \"local-anonymizer\" before it")

    def test_store_named_otherwise_is_still_a_store(self):
        self.stages[4]["id"] = "local-anonymizer-copy"
        self.stages[3]["enabled"] = False
        self.site.write_pipeline(self.stages)
        self.refuse(8, "nothing before it grants \"deid.header\"")

    def test_two_anonymizers(self):
        self.stages.insert(4, dict(self.stages[3], id="again"))
        self.site.write_pipeline(self.stages)
        self.refuse(8, "stage \"again\" grants \"ids.replaced\", and so does "
                       "\"local-anonymizer\" before it")

    def test_source_not_first(self):
        self.stages[0], self.stages[1] = self.stages[1], self.stages[0]
        self.site.write_pipeline(self.stages)
        self.refuse(5, "stage \"importer\" is the source; move it before \"pixel-check\"")

    def test_no_store(self):
        self.site.write_pipeline(self.stages[:4])
        self.refuse(0, "no enabled stage hands images out; enable a store, or write "
                       "\"dry\": true")

    def test_no_source(self):
        self.site.write_pipeline(self.stages[1:])
        self.refuse(0, "no enabled stage is a source; begin with \"importer\"")

    def test_no_stage_at_all(self):
        self.site.write_pipeline([])
        self.refuse(0, "stages")

    def test_all_disabled(self):
        self.site.write_pipeline([dict(stage, enabled=False) for stage in self.stages])
        self.refuse(0, "no enabled stage is a source")


class Policy(sendit.Case):
    def setUp(self):
        super().setUp()
        self.site.add_images(2)
        self.stages = self.site.stages()

    def refuse(self, *words):
        self.assert_one_sentence(self.run_sendit("run", expect=3), *words)
        self.assert_nothing_out()

    def test_a_shorter_policy_needs_a_reason(self):
        for label in POLICY:
            with self.subTest(label):
                left = [other for other in POLICY if other != label]
                self.site.write_pipeline(policy={"egress_needs": left})
                self.refuse("the policy lacks %s" % label, "policy.because")

    def test_an_empty_policy_needs_a_reason(self):
        self.site.write_pipeline(policy={"egress_needs": []})
        self.refuse("the policy lacks", "policy.because")

    def test_a_blank_reason_is_none(self):
        for because, answer in (("", "policy.because: this is empty"),
                                ("  ", "a reason was expected")):
            with self.subTest(because):
                self.site.write_pipeline(policy={"egress_needs": [], "because": because})
                self.refuse(answer)

    def test_a_reason_alone_lowers_nothing(self):
        del self.stages[1]
        self.site.write_pipeline(self.stages, policy={"because": "we know what we do"})
        self.refuse("nothing before it grants \"pixels.checked\"")

    def test_a_lowered_policy_is_obeyed_said_and_kept(self):
        del self.stages[1]
        because = "phantoms only, order of the data board 2026-11"
        self.site.write_pipeline(self.stages, policy={
            "egress_needs": POLICY[1:], "because": because})
        result = self.run_sendit("run")
        self.assertIn(because, result.err)
        self.assertEqual(len(sendit.images(self.site.clean)), 2)
        self.assertIn(because, self.run_sendit("plan").out)

    def test_a_higher_policy_is_obeyed(self):
        self.site.write_pipeline(policy={"egress_needs": POLICY + ["deid.verified"]})
        self.refuse("\"local-anonymizer\" before it takes \"deid.verified\" away")

    def test_a_label_of_the_site_that_nobody_grants(self):
        self.site.write_pipeline(policy={"egress_needs": POLICY + ["board.approved"]})
        self.refuse("nothing before it grants \"board.approved\"")

    def test_a_misspelt_label(self):
        self.site.write_pipeline(policy={"egress_needs": ["pixels.checkd"] + POLICY[1:],
                                         "because": "x"})
        self.refuse("pixels.checked")

    def test_dry_needs_no_store_and_stores_nothing(self):
        self.site.write_pipeline(self.stages[:4], dry=True)
        answer = self.run_json()
        self.assert_counts(answer, checked=2)
        self.assert_nothing_out()

    def test_dry_with_a_store(self):
        self.site.write_pipeline(dry=True)
        self.refuse("\"dry\" is true")

    def test_image_that_earned_no_label_does_not_pass(self):
        """At run time, too: what pixel-check lets through by `pass` lacks its label."""
        self.stages[1]["config"] = {"on_burned_in": "pass"}
        self.site.write_pipeline(self.stages)
        self.site.add(sendit.make_image(9, BurnedInAnnotation="UNKNOWN"), "study1", "IM00009")
        answer = self.run_json()
        self.assert_counts(answer, stored=2, quarantined=1)
        self.assert_reasons(answer, host__label=1)


class Plan(sendit.Case):
    def test_plan_answers_before_anything_is_there(self):
        plan = self.run_sendit("plan").out
        for word in ["importer", "pixel-check", "deid-filter", "local-anonymizer",
                     "file-store"] + POLICY:
            self.assertIn(word, plan)
        self.assertFalse(os.path.exists(self.site.clean))

    def test_plan_as_json(self):
        plan = json.loads(self.run_sendit("plan", "--json").out)
        self.assertEqual([stage["id"] for stage in plan["stages"]],
                         ["importer", "pixel-check", "deid-filter", "local-anonymizer", "file-store"])


if __name__ == "__main__":
    unittest.main()
