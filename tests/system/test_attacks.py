# SPDX-License-Identifier: Apache-2.0
"""What somebody would try who wants an identifier out, an image lost, or a count that lies."""
import os
import struct
import unittest

import sendit

TOKEN = "Zqxjkv"  # in no keyword, UID or value of ours
DICTIONARY = "/usr/share/libdcmtk17/dicom.dic"
JPEG = "1.2.840.10008.1.2.4.50"
SCAN = b"\xff\xda\x00\x03\x01\x12\xff\x00"


def item(data):
    data += b"\0" * (len(data) % 2)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(data)) + data


def compressed(number, *fragments, table=b""):
    """An image of JPEG Baseline; what it shows does not matter."""
    ds = sendit.make_image(number)
    ds.file_meta.TransferSyntaxUID = JPEG
    ds.PixelData = item(table) + b"".join(item(fragment) for fragment in fragments)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    return ds


class Attacks(sendit.Case):
    def assert_no_token(self):
        for path in sendit.images(self.site.clean):
            with open(path, "rb") as file:
                self.assertNotIn(TOKEN.encode(), file.read())

    def test_beside_compressed_pixels(self):
        text = TOKEN.encode()
        comment = b"\xff\xfe" + struct.pack(">H", 2 + len(text)) + text
        picture = b"\xff\xd8" + SCAN + b"\xff\xd9"
        for number, ds in enumerate((
                compressed(1, b"\xff\xd8" + comment + SCAN + b"\xff\xd9"),
                compressed(2, picture + text), compressed(3, picture, text),
                compressed(4, picture, table=text + b"\0\0"))):
            self.site.add(ds, "s", "BAD%d" % number)
        self.site.add(compressed(5, picture), "s", "GOOD")
        answer = self.run_json()
        self.assert_counts(answer, stored=1, quarantined=4)
        self.assert_reasons(answer, pixel__comment=4)
        self.assert_no_token()

    def test_overlay_in_the_pixels_and_sound(self):
        ds = sendit.make_image(1)
        ds.add_new(0x60000010, "US", 8)
        ds.add_new(0x60000100, "US", 16)
        ds.add_new(0x60000102, "US", 12)
        self.site.add(ds, "s", "OVERLAY")
        voice = sendit.make_image(2, PixelData=None, Rows=None, Columns=None)
        voice.SOPClassUID = "1.2.840.10008.5.1.4.1.1.9.4.1"
        self.site.add(voice, "s", "VOICE")
        answer = self.run_json()
        self.assert_counts(answer, quarantined=2)
        self.assert_reasons(answer, pixel__overlay=1, pixel__audio=1)

    @unittest.skipUnless(os.path.exists(DICTIONARY), "the dictionary of DCMTK is elsewhere")
    def test_dictionary_of_another_program(self):
        """DCMDICTPATH makes nothing known that is unknown without it."""
        own = self.site.path("own.dic")
        with open(DICTIONARY, encoding="utf-8") as file:
            text = file.read()
        with open(own, "w", encoding="utf-8") as file:
            file.write(text + "\n(0008,0ABE)\tLO\tOwnThing\t1\tOWN\n")
        ds = sendit.make_image(1)
        ds.add_new(0x00080ABE, "LO", TOKEN)
        self.site.add(ds, "s", "A")
        for where in (own, "/nowhere"):
            site = self.new_site()
            answer = self.run_json(self.site.data, site=site, env=dict(os.environ, DCMDICTPATH=where))
            self.assert_counts(answer, stored=1)
            with open(sendit.images(site.clean)[0], "rb") as file:
                self.assertNotIn(TOKEN.encode(), file.read())

    def test_environment_changes_no_byte(self):
        self.site.add_images(2)
        trees = []
        for more in ({}, {"TZ": "Pacific/Kiritimati", "LC_ALL": "de_DE.UTF-8", "LANG": "tr_TR"}):
            site = self.new_site()
            self.run_json(self.site.data, site=site, env=dict(os.environ, **more))
            trees.append(sendit.tree(site.clean))
        self.assertEqual(trees[0], trees[1])

    def test_words_that_a_terminal_would_obey(self):
        for args in (["x\x1b[31m"], ["plan", "--set", "a\x1b[31m.b=c"]):
            result = self.site.sendit(*args)
            self.assertNotEqual(result.status, 0)
            self.assertNotIn("\x1b", result.out + result.err)
        self.site.write_pipeline(text='{"state": "state", "sta\\u001b[31m\\u009b1mges": []}')
        result = self.run_sendit("plan", expect=3)
        self.assertNotIn("\x1b", result.err)
        self.assertNotIn("\x9b", result.err)
        self.assertIn("pipeline.json:1:", result.err)

    def test_scratch_that_is_a_link(self):
        """What scratch is emptied of lies in the state folder."""
        self.site.add_images(1)
        os.symlink(os.path.join(self.site.data, "study1"), os.path.join(self.site.state, "scratch"))
        result = self.run_sendit("run", expect=4)
        self.assert_one_sentence(result, "scratch")
        self.assertEqual(os.listdir(os.path.join(self.site.data, "study1")), ["IM00001"])

    def test_modes_with_an_open_umask(self):
        self.site.add_images(1)
        before = os.umask(0)
        try:
            self.run_json()
        finally:
            os.umask(before)
        for place, _, files in os.walk(self.site.state):
            for path in [place] + [os.path.join(place, name) for name in files]:
                self.assertTrue(sendit.owner_only(path), path)
        for place, _, files in os.walk(self.site.clean):
            for path in [place] + [os.path.join(place, name) for name in files]:
                self.assertFalse(os.lstat(path).st_mode & 0o027, path)

    def test_store_that_is_a_link_into_the_input(self):
        self.site.add_images(1)
        os.symlink(os.path.join(self.site.data, "study1"), self.site.clean)
        before = sendit.tree(self.site.data)
        result = self.site.sendit("run")
        self.assert_sound(result)
        self.assertNotEqual(result.status, 0, str(result))
        self.assertEqual({name: digest for name, digest in sendit.tree(self.site.data).items()
                          if ".sendit" not in name}, before)


if __name__ == "__main__":
    unittest.main()
