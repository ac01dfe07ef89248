// SPDX-License-Identifier: Apache-2.0
/*
 * sendit_dcmtk.hpp - DCMTK's own data set, for authors who write C++ (17 or later, as Debian's DCMTK
 * asks for) and need what the table `dicom` of services.h does not have.  Declare SENDIT_NATIVE;
 * the site must allow it ("allow": ["native"]).  Link to libdcmdata: it is the one that the host
 * has loaded.
 *
 *     DcmDataset *data = sendit_native(self->dicom, item->ds);
 *     if (!data)
 *         return sendit_because(why, SENDIT_FAIL, "mine.native", "Compile it for this sendit.");
 *     data->findAndDeleteElement(DCM_PatientComments, OFFalse, OFTrue);
 *
 * What you give up: this ties your binary to one build of DCMTK and one compiler, and it goes past
 * the checks of `dicom`.  What holds all the same:
 *
 *  - The data set is the host's and lives until the callback returns.  Do not delete it, do not
 *    keep a pointer into it, do not let an exception out.
 *  - Its pixel data is not in it, nor is group 0002; add neither.  A data set that holds them when
 *    the callback returns, or is nested deeper than 64, costs the item: host.native.
 *  - With SENDIT_MUTATES the item counts as edited from this call on; the edits count with PASS
 *    alone.  Without, what you get is a copy, and what you change in it is lost.
 *  - Items (sendit_dataset *) and values that you got from `dicom` before you edited by DCMTK are
 *    not yours any more: get them anew.
 */
#ifndef SENDIT_DCMTK_HPP
#define SENDIT_DCMTK_HPP

#include "stage.h"

#include <dcmtk/config/osconfig.h>
#include <dcmtk/dcmdata/dctk.h>

/* What must be the same on both sides: DCMTK, compiler, and the library's strings and lists. */
#define SENDIT_DCMTK_TEXT_(x) #x
#define SENDIT_DCMTK_TEXT(x) SENDIT_DCMTK_TEXT_(x)
#if defined(_GLIBCXX_USE_CXX11_ABI)
#define SENDIT_DCMTK_LIBRARY "libstdc++ cxx11=" SENDIT_DCMTK_TEXT(_GLIBCXX_USE_CXX11_ABI)
#else
#define SENDIT_DCMTK_LIBRARY "another library"
#endif
#define SENDIT_DCMTK_BUILD \
    "DCMTK " OFFIS_DCMTK_VERSION_STRING "; " __VERSION__ "; " SENDIT_DCMTK_LIBRARY

/* The DCMTK object of `ds`, the item in hand (not one of its sequences' items); NULL if the two
 * were not built alike, SENDIT_NATIVE is not declared, or a walk() is under way: answer FAIL. */
inline DcmDataset *sendit_native(const struct sendit_dicom *dicom, struct sendit_dataset *ds)
{
    return static_cast<DcmDataset *>(dicom->native(ds, SENDIT_DCMTK_BUILD));
}

#endif /* SENDIT_DCMTK_HPP */
