/* SPDX-License-Identifier: Apache-2.0 */
#include "deid/terms.h"

#include <string.h>

#include "deid/value.h"

#define LONGEST_TERM 16   /* characters of a code string */
#define LONGEST_UNKNOWN 3 /* letters of a word that need not be known: "SE", "FFE", "MPR" */
#define LONGEST_NUMBER 4  /* digits */

/* A blank before and after each word. */

static const char modalities[] =
    " ANN AR AS ASMT AU BDUS BI BMD CD CF CFM CP CR CS CT CTPROTOCOL DD DF DG DM DMS DOC DS DX "
    "EC ECG EEG EMG EOG EPS ES FA FID FS GM HC HD IO IOL IVOCT IVUS KER KO LEN LP LS M3D MA "
    "MG MR MS NM OAM OCT OP OPM OPR OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG "
    "RESP RF RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM "
    "SMR SR SRF ST STAIN TEXTUREMAP TG US VA VF XA XAPROTOCOL XC ";

/* Words of the defined terms of ImageType and FrameType in all modules of PS3.3, and of what makers
 * write there. */
static const char image_words[] =
    " ABDOM ABDOMEN ABDOMINAL ADDITION ANGIO ANGIOGRAPHY ANISO ANISOTROPY ANTERIOR ARTERIAL "
    "ATTENUATED ATTENUATION AUTOFLUORESCENCE AVERAGE AVERAGED AXIAL BASELINE BIOPSY BIPLANE "
    "BLANK BODY BOLD BONE BRAIN BREAST BURST CALCIUM CALIBRATION CAPTURE CARDIAC CARDIOLOGY "
    "CAROTID CASCADE CASCORE CHEMICAL CHEST CINE COEFFICIENT COLOR COLOUR COMBINED COMPLEX "
    "COMPOSED COMPOSITE COMPOUND CONFIDENCE CONTRAST CORONAL CORRECTED CSAIMAGE "
    "CSAMANIPULATED CSAPARALLEL CSAREPORT CURVED DATE DELAYED DENSITY DERIVED DETAIL "
    "DEVIATION DIFFERENCE DIFFUSION DIS2D DIS3D DIVISION DIXON DOPPLER DOSE DUAL DYNAMIC ECHO "
    "EFGRE3D "
    "EMISSION ENCODED ENDOCAVITARY ENDORECTAL ENDOVAGINAL ENERGY ENHANCED ENTRANCE EPICARDIAL "
    "EXPIRATION EXPONENTIAL FETAL FIELD FILTERED FINAL FLAIR FLOW FLUENCE FLUID FLUOROSCOPY "
    "FMRI FRAME FREE FUNCTIONAL FUSED FUSION GAIN GATED GENERATED GRADIENT GRAPH GRAYSCALE "
    "GYNECOLOGY HEAD HEART HELICAL HISTOGRAM IMAGE IMAGINARY INPHASE INTENSITY INTRACARDIAC "
    "INTRAOPERATIVE INTRAVASCULAR INVERSION IODINE ISOTROPIC LABEL LATERAL LEFT LOCALISER "
    "LOCALIZER MAGNITUDE MAMMO MANIPULATED MASK MASKED MAXIMUM MEAN MEDIAN METABOLITE MFSPLIT "
    "MINIMUM MIXED MOCO MODE MODULUS MONO MONOCHROMATIC MONOENERGETIC MONTAGE MOSAIC MOTION "
    "MULTI MULTIECHO MULTIPLANAR MULTIPLICATION MUSCULOSKELETAL NECK NEONATAL NONE NORM "
    "NORMAL NORMALIZED OBLIQUE OBSTETRICAL OPHTHALMIC OPPOSED ORIGINAL OTHER OUTPHASE OUTPUT "
    "OVERLAY OVERVIEW PARALLEL PARAMETRIC PARTS PEDIATRIC PELVIC PELVIS PERFUSION PHANTOM "
    "PHASE PHASES PHOENIX PLANAR PLANE PORTAL POSTERIOR POSTPROCESSED PRED PRESENTATION "
    "PRIMARY PROCESSED PROCESSING PROJ PROJECTION PROSTATE PROTOCOL PROTON PULMONARY QUALITY "
    "QUANTITATIVE QUANTITY RADIOGRAPH RAMP RATE RATIO RCBF RCBV REAL REALTIME RECON "
    "RECONSTRUCTED RECONSTRUCTION REFERENCE REFORMAT REFORMATTED REGISTERED RENAL RENDERED "
    "RENDERING REPORT RESAMPLED REST RESULT RETRO RETROPERITONEAL RIGHT SAGITTAL SAVE SCALE "
    "SCOUT SCREEN SCREENSHOT SCROTAL SECONDARY SENSITIVITY SERIES SHADED SHIFT SHUTTER "
    "SIMULATOR SINGLE SLAB SLICE SMALL SNAPSHOT SOURCE SPECTRAL SPECTROSCOPY SPECTRUM SPIN "
    "SPINE SPIRAL STACK STANDARD STAR STATIC STEREO STIR STRESS SUBTRACT SUBTRACTED "
    "SUBTRACTION SUMMARY SUMMED SURFACE SURVEY SUSCEPTIBILITY SYNTHETIC TABLE TAGGING "
    "TEMPERATURE TENSOR TEST THICK THIN THUMBNAIL THYROID TIME TIMING TISSUE TOMO "
    "TOMOSYNTHESIS TOPOGRAM TRACE TRACEW TRANSCRANIAL TRANSMISSION TRANSVERSE TTEST UNALIGNED "
    "UNCORRECTED UNSPECIFIED VASCULAR VELOCITY VENOUS VIRTUAL VOLUME WATER WEIGHTED WHOLE "
    "WHOLEBODY ";

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool terms_is_common(const char *text, size_t len)
{
    static const char *const terms[] = {
        "ABDOMEN",   "AXIAL",    "BRAIN",    "BREAST",   "CHEST",         "CODE",     "COMPOSITE",
        "CONTAINER", "CONTAINS", "DATE",     "DATETIME", "DERIVED",       "HEAD",     "HEADNECK",
        "HEART",     "IMAGE",    "KIDNEY",   "LIVER",    "LOCALIZER",     "LUNG",     "MIXED",
        "NECK",      "NONE",     "ORIGINAL", "OTHER",    "PALETTE COLOR", "PELVIS",   "PNAME",
        "PRIMARY",   "PROSTATE", "SCOORD",   "SCOORD3D", "SECONDARY",     "SEPARATE", "SINGLE",
        "SPINE",     "TABLE",    "TCOORD",   "TEXT",     "TIME",          "UIDREF",   "VOLUME",
        "WAVEFORM",  "WHOLEBODY"};

    for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++)
        if (strlen(terms[i]) == len && !memcmp(terms[i], text, len))
            return true;
    return false;
}

/* Is it one of the words of a list, in any case? */
static bool is_among(const char *text, size_t len, const char *list)
{
    char word[LONGEST_TERM + 3];

    if (!len || len > LONGEST_TERM)
        return false;
    word[0] = word[len + 1] = ' ';
    word[len + 2] = '\0';
    for (size_t i = 0; i < len; i++) {
        if (!is_letter(text[i]) && !is_digit(text[i]))
            return false;
        word[i + 1] = (char)(is_letter(text[i]) ? text[i] & ~0x20 : text[i]);
    }
    return strstr(list, word) != NULL;
}

bool terms_is_modality(const char *text, size_t len)
{
    return is_among(text, len, modalities);
}

bool terms_is_sex(const char *text, size_t len)
{
    return is_among(text, len, " M F O ");
}

bool terms_is_photometric(const char *text, size_t len)
{
    static const char *const terms[] = {"MONOCHROME1",
                                        "MONOCHROME2",
                                        "PALETTE COLOR",
                                        "RGB",
                                        "YBR_FULL",
                                        "YBR_FULL_422",
                                        "YBR_PARTIAL_420",
                                        "YBR_PARTIAL_422",
                                        "YBR_ICT",
                                        "YBR_RCT",
                                        "HSV",
                                        "ARGB",
                                        "CMYK",
                                        "XYB"};

    for (size_t i = 0; i < sizeof(terms) / sizeof(terms[0]); i++)
        if (strlen(terms[i]) == len && !memcmp(terms[i], text, len))
            return true;
    return false;
}

/* "AXIAL", "ECHO2", "T2", "0001", "SOM5". */
static bool is_image_word(const char *text, size_t len)
{
    size_t digits = 0;

    for (size_t i = 0; i < len; i++)
        digits += is_digit(text[i]);
    if (digits > LONGEST_NUMBER)
        return false;
    if (len - digits <= LONGEST_UNKNOWN || is_among(text, len, image_words))
        return true;
    while (len && is_digit(text[len - 1]))
        len--;
    return is_among(text, len, image_words);
}

bool terms_is_image_type(const char *text, size_t len)
{
    size_t at = 0;

    if (!value_fits(VALUE_VR('C', 'S'), text, len))
        return false;
    while (at < len) {
        size_t end = at;

        while (end < len && (is_letter(text[end]) || is_digit(text[end])))
            end++;
        if (end > at && !is_image_word(text + at, end - at))
            return false;
        at = end + 1;
    }
    return true;
}
