//! Unicode rules for text that others read. It is in NFC (UAX #15), so that what looks the same is the same. It shows
//! something, and does not change the layout of the text around it (UTR #36, section 2.5).

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{BidiControl, DefaultIgnorableCodePoint, GeneralCategory};
use icu_properties::{CodePointMapData, CodePointSetData};

pub(crate) fn nfc(text: &str) -> String {
    ComposingNormalizerBorrowed::new_nfc().normalize(text).into_owned()
}

/// Whether a line of text begins with something visible, has no space around it, and misleads nobody.
pub(crate) fn is_readable(text: &str) -> bool {
    text.starts_with(is_visible) && !text.ends_with(is_blank) && !text.chars().any(is_misleading)
}

/// Whether a character is visible by itself.
pub(crate) fn is_visible(c: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    !is_blank(c)
        && !is_ignorable(c)
        && !matches!(
            category,
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::PrivateUse
                | GeneralCategory::NonspacingMark
                | GeneralCategory::EnclosingMark
        )
}

/// Whether a character is space, or one of two symbols that are drawn as nothing: the empty Braille pattern and the
/// null notehead.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{2800}' | '\u{1D159}')
}

/// Whether a character hides, reorders or breaks text. Joiners, variation selectors and tags do not: scripts and
/// emoji need them.
pub(crate) fn is_misleading(c: char) -> bool {
    let needed = matches!(
        c,
        '\u{200C}' | '\u{200D}' | '\u{180B}'..='\u{180D}' | '\u{180F}' | '\u{FE00}'..='\u{FE0F}'
            | '\u{E0020}'..='\u{E007F}' | '\u{E0100}'..='\u{E01EF}'
    );
    let noncharacter = matches!(c, '\u{FDD0}'..='\u{FDEF}') || u32::from(c) & 0xFFFE == 0xFFFE;
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FFF9}'..='\u{FFFB}')
        || noncharacter
        || CodePointSetData::new::<BidiControl>().contains(c)
        || (is_ignorable(c) && !needed)
}

fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}
