//! The encodings of clients in which each character is a byte, as PostgreSQL has them.
//!
//! Bytes below 0x80 are ASCII.

/// Stands for a byte that is no character.
pub const NO_CHARACTER: char = '~';

/// An encoding in which each character is a byte.
#[derive(Debug)]
pub struct SingleByteEncoding {
    /// The name that the setting has.
    pub name: &'static str,
    /// Its other names, in small letters and digits.
    pub(super) others: &'static [&'static str],
    /// The characters of the last bytes up to 0xff, in their order, and [`NO_CHARACTER`] for a byte that is none; a byte from 0x80
    /// on that stands before them is the character of its number.
    pub last: &'static str,
}

/// The encodings that texts are converted to and from.
pub static SINGLE_BYTE_ENCODINGS: [SingleByteEncoding; 27] = [
    SingleByteEncoding {
        name: "ISO_8859_5",
        others: &[],
        last: "ЁЂЃЄЅІЇЈЉЊЋЌ\u{ad}ЎЏАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя№ёђѓєѕіїјљњћќ§ўџ",
    },
    SingleByteEncoding {
        name: "ISO_8859_6",
        others: &[],
        last: "~~~¤~~~~~~~،\u{ad}~~~~~~~~~~~~~\u{61b}~~~\u{61f}~\u{621}\u{622}\u{623}\u{624}\u{625}\u{626}\u{627}\
         \u{628}\u{629}\u{62a}\u{62b}\u{62c}\u{62d}\u{62e}\u{62f}\u{630}\u{631}\u{632}\u{633}\u{634}\u{635}\
         \u{636}\u{637}\u{638}\u{639}\u{63a}~~~~~\u{640}\u{641}\u{642}\u{643}\u{644}\u{645}\u{646}\u{647}\
         \u{648}\u{649}\u{64a}\u{64b}\u{64c}\u{64d}\u{64e}\u{64f}\u{650}\u{651}\u{652}~~~~~~~~~~~~~",
    },
    SingleByteEncoding {
        name: "ISO_8859_7",
        others: &[],
        last: "‘’£€₯¦§¨©ͺ«¬\u{ad}~―°±²³΄΅Ά·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ~ΣΤΥΦΧΨΩΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ~",
    },
    SingleByteEncoding {
        name: "ISO_8859_8",
        others: &[],
        last: "~¢£¤¥¦§¨©×«¬\u{ad}®¯°±²³´µ¶·¸¹÷»¼½¾~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~‗\u{5d0}\u{5d1}\u{5d2}\u{5d3}\
         \u{5d4}\u{5d5}\u{5d6}\u{5d7}\u{5d8}\u{5d9}\u{5da}\u{5db}\u{5dc}\u{5dd}\u{5de}\u{5df}\u{5e0}\u{5e1}\
         \u{5e2}\u{5e3}\u{5e4}\u{5e5}\u{5e6}\u{5e7}\u{5e8}\u{5e9}\u{5ea}~~\u{200e}\u{200f}~",
    },
    SingleByteEncoding {
        name: "KOI8R",
        others: &["koi8"],
        last: "─│┌┐└┘├┤┬┴┼▀▄█▌▐░▒▓⌠■∙√≈≤≥\u{a0}⌡°²·÷═║╒ё╓╔╕╖╗╘╙╚╛╜╝╞╟╠╡Ё╢╣╤╥╦╧╨╩╪╫╬©юабцдефгхийклмнопярстужвьызшэщч\
         ъЮАБЦДЕФГХИЙКЛМНОПЯРСТУЖВЬЫЗШЭЩЧЪ",
    },
    SingleByteEncoding {
        name: "KOI8U",
        others: &[],
        last: "─│┌┐└┘├┤┬┴┼▀▄█▌▐░▒▓⌠■∙√≈≤≥\u{a0}⌡°²·÷═║╒ёє╔ії╗╘╙╚╛ґ╝╞╟╠╡ЁЄ╣ІЇ╦╧╨╩╪Ґ╬©юабцдефгхийклмнопярстужвьызшэщч\
         ъЮАБЦДЕФГХИЙКЛМНОПЯРСТУЖВЬЫЗШЭЩЧЪ",
    },
    SingleByteEncoding {
        name: "LATIN1",
        others: &["iso88591"],
        last: "",
    },
    SingleByteEncoding {
        name: "LATIN2",
        others: &["iso88592"],
        last: "Ą˘Ł¤ĽŚ§¨ŠŞŤŹ\u{ad}ŽŻ°ą˛ł´ľśˇ¸šşťź˝žżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
    },
    SingleByteEncoding {
        name: "LATIN3",
        others: &["iso88593"],
        last: "Ħ˘£¤~Ĥ§¨İŞĞĴ\u{ad}~Ż°ħ²³´µĥ·¸ışğĵ½~żÀÁÂ~ÄĊĈÇÈÉÊËÌÍÎÏ~ÑÒÓÔĠÖ×ĜÙÚÛÜŬŜßàáâ~äċĉçèéêëìíîï~ñòóôġö÷ĝùúûüŭŝ˙",
    },
    SingleByteEncoding {
        name: "LATIN4",
        others: &["iso88594"],
        last: "ĄĸŖ¤ĨĻ§¨ŠĒĢŦ\u{ad}Ž¯°ą˛ŗ´ĩļˇ¸šēģŧŊžŋĀÁÂÃÄÅÆĮČÉĘËĖÍÎĪĐŅŌĶÔÕÖ×ØŲÚÛÜŨŪßāáâãäåæįčéęëėíîīđņōķôõö÷øųúûüũū˙",
    },
    SingleByteEncoding {
        name: "LATIN5",
        others: &["iso88599"],
        last: "ĞÑÒÓÔÕÖ×ØÙÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
    },
    SingleByteEncoding {
        name: "LATIN6",
        others: &["iso885910"],
        last: "ĄĒĢĪĨĶ§ĻĐŠŦŽ\u{ad}ŪŊ°ąēģīĩķ·ļđšŧž―ūŋĀÁÂÃÄÅÆĮČÉĘËĖÍÎÏÐŅŌÓÔÕÖŨØŲÚÛÜÝÞßāáâãäåæįčéęëėíîïðņōóôõöũøųúûüýþĸ",
    },
    SingleByteEncoding {
        name: "LATIN7",
        others: &["iso885913"],
        last: "”¢£¤„¦§Ø©Ŗ«¬\u{ad}®Æ°±²³“µ¶·ø¹ŗ»¼½¾æĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž’",
    },
    SingleByteEncoding {
        name: "LATIN8",
        others: &["iso885914"],
        last: "Ḃḃ£ĊċḊ§Ẁ©ẂḋỲ\u{ad}®ŸḞḟĠġṀṁ¶ṖẁṗẃṠỳẄẅṡÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏŴÑÒÓÔÕÖṪØÙÚÛÜÝŶßàáâãäåæçèéêëìíîïŵñòóôõöṫøùúûüýŷÿ",
    },
    SingleByteEncoding {
        name: "LATIN9",
        others: &["iso885915"],
        last: "€¥Š§š©ª«¬\u{ad}®¯°±²³Žµ¶·ž¹º»ŒœŸ¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
    },
    SingleByteEncoding {
        name: "LATIN10",
        others: &["iso885916"],
        last: "ĄąŁ€„Š§š©Ș«Ź\u{ad}źŻ°±ČłŽ”¶·žčș»ŒœŸżÀÁÂĂÄĆÆÇÈÉÊËÌÍÎÏĐŃÒÓÔŐÖŚŰÙÚÛÜĘȚßàáâăäćæçèéêëìíîïđńòóôőöśűùúûüęțÿ",
    },
    SingleByteEncoding {
        name: "WIN866",
        others: &["alt", "windows866"],
        last: "АБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯабвгдежзийклмноп░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀рсту\
         фхцчшщъыьэюяЁёЄєЇїЎў°∙·√№¤■\u{a0}",
    },
    SingleByteEncoding {
        name: "WIN874",
        others: &["windows874"],
        last: "€~~~~…~~~~~~~~~~~‘’“”•–—~~~~~~~~\u{a0}กขฃคฅฆงจฉชซฌญฎฏฐฑฒณดตถทธนบปผฝพฟภมยรฤลฦวศษสหฬอฮฯะ\u{e31}าำ\
         \u{e34}\u{e35}\u{e36}\u{e37}\u{e38}\u{e39}\u{e3a}~~~~฿เแโใไๅๆ\u{e47}\u{e48}\u{e49}\u{e4a}\u{e4b}\
         \u{e4c}\u{e4d}\u{e4e}๏๐๑๒๓๔๕๖๗๘๙๚๛~~~~",
    },
    SingleByteEncoding {
        name: "WIN1250",
        others: &["windows1250"],
        last: "€~‚~„…†‡~‰Š‹ŚŤŽŹ~‘’“”•–—~™š›śťžź\u{a0}ˇ˘Ł¤Ą¦§¨©Ş«¬\u{ad}®Ż°±˛ł´µ¶·¸ąş»Ľ˝ľżŔÁÂĂÄĹĆÇČÉĘËĚÍÎĎĐŃŇÓÔŐÖ×ŘŮ\
         ÚŰÜÝŢßŕáâăäĺćçčéęëěíîďđńňóôőö÷řůúűüýţ˙",
    },
    SingleByteEncoding {
        name: "WIN1251",
        others: &["win", "windows1251"],
        last: "ЂЃ‚ѓ„…†‡€‰Љ‹ЊЌЋЏђ‘’“”•–—~™љ›њќћџ\u{a0}ЎўЈ¤Ґ¦§Ё©Є«¬\u{ad}®Ї°±Ііґµ¶·ё№є»јЅѕїАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩ\
         ЪЫЬЭЮЯабвгдежзийклмнопрстуфхцчшщъыьэюя",
    },
    SingleByteEncoding {
        name: "WIN1252",
        others: &["windows1252"],
        last: "€~‚ƒ„…†‡ˆ‰Š‹Œ~Ž~~‘’“”•–—˜™š›œ~žŸ\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖ×ØÙ\
         ÚÛÜÝÞßàáâãäåæçèéêëìíîïðñòóôõö÷øùúûüýþÿ",
    },
    SingleByteEncoding {
        name: "WIN1253",
        others: &["windows1253"],
        last: "€~‚ƒ„…†‡~‰~‹~~~~~‘’“”•–—~™~›~~~~\u{a0}΅Ά£¤¥¦§¨©~«¬\u{ad}®―°±²³΄µ¶·ΈΉΊ»Ό½ΎΏΐΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡ~ΣΤΥΦΧΨΩ\
         ΪΫάέήίΰαβγδεζηθικλμνξοπρςστυφχψωϊϋόύώ~",
    },
    SingleByteEncoding {
        name: "WIN1254",
        others: &["windows1254"],
        last: "€~‚ƒ„…†‡ˆ‰Š‹Œ~~~~‘’“”•–—˜™š›œ~~Ÿ\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏĞÑÒÓÔÕÖ×ØÙ\
         ÚÛÜİŞßàáâãäåæçèéêëìíîïğñòóôõö÷øùúûüışÿ",
    },
    SingleByteEncoding {
        name: "WIN1255",
        others: &["windows1255"],
        last: "€~‚ƒ„…†‡ˆ‰~‹~~~~~‘’“”•–—˜™~›~~~~\u{a0}¡¢£₪¥¦§¨©×«¬\u{ad}®¯°±²³´µ¶·¸¹÷»¼½¾¿\u{5b0}\u{5b1}\u{5b2}\
         \u{5b3}\u{5b4}\u{5b5}\u{5b6}\u{5b7}\u{5b8}\u{5b9}~\u{5bb}\u{5bc}\u{5bd}\u{5be}\u{5bf}\u{5c0}\u{5c1}\
         \u{5c2}\u{5c3}\u{5f0}\u{5f1}\u{5f2}\u{5f3}\u{5f4}~~~~~~~\u{5d0}\u{5d1}\u{5d2}\u{5d3}\u{5d4}\u{5d5}\
         \u{5d6}\u{5d7}\u{5d8}\u{5d9}\u{5da}\u{5db}\u{5dc}\u{5dd}\u{5de}\u{5df}\u{5e0}\u{5e1}\u{5e2}\u{5e3}\
         \u{5e4}\u{5e5}\u{5e6}\u{5e7}\u{5e8}\u{5e9}\u{5ea}~~\u{200e}\u{200f}~",
    },
    SingleByteEncoding {
        name: "WIN1256",
        others: &["windows1256"],
        last: "€\u{67e}‚ƒ„…†‡ˆ‰\u{679}‹Œ\u{686}\u{698}\u{688}\u{6af}‘’“”•–—\u{6a9}™\u{691}›œ\u{200c}\u{200d}\u{6ba}\
         \u{a0}،¢£¤¥¦§¨©\u{6be}«¬\u{ad}®¯°±²³´µ¶·¸¹\u{61b}»¼½¾\u{61f}\u{6c1}\u{621}\u{622}\u{623}\u{624}\
         \u{625}\u{626}\u{627}\u{628}\u{629}\u{62a}\u{62b}\u{62c}\u{62d}\u{62e}\u{62f}\u{630}\u{631}\u{632}\
         \u{633}\u{634}\u{635}\u{636}×\u{637}\u{638}\u{639}\u{63a}\u{640}\u{641}\u{642}\u{643}à\u{644}â\
         \u{645}\u{646}\u{647}\u{648}çèéêë\u{649}\u{64a}îï\u{64b}\u{64c}\u{64d}\u{64e}ô\u{64f}\u{650}÷\u{651}\
         ù\u{652}ûü\u{200e}\u{200f}\u{6d2}",
    },
    SingleByteEncoding {
        name: "WIN1257",
        others: &["windows1257"],
        last: "€~‚~„…†‡~‰~‹~¨ˇ¸~‘’“”•–—~™~›~¯˛~\u{a0}~¢£¤~¦§Ø©Ŗ«¬\u{ad}®Æ°±²³´µ¶·ø¹ŗ»¼½¾æĄĮĀĆÄÅĘĒČÉŹĖĢĶĪĻŠŃŅÓŌÕÖ×ŲŁ\
         ŚŪÜŻŽßąįāćäåęēčéźėģķīļšńņóōõö÷ųłśūüżž˙",
    },
    SingleByteEncoding {
        name: "WIN1258",
        others: &["abc", "tcvn", "tcvn5712", "vscii", "windows1258"],
        last: "€~‚ƒ„…†‡ˆ‰~‹Œ~~~~‘’“”•–—˜™~›œ~~Ÿ\u{a0}¡¢£¤¥¦§¨©ª«¬\u{ad}®¯°±²³´µ¶·¸¹º»¼½¾¿ÀÁÂĂÄÅÆÇÈÉÊË\u{300}ÍÎÏĐÑ\
         \u{309}ÓÔƠÖ×ØÙÚÛÜƯ\u{303}ßàáâăäåæçèéêë\u{301}íîïđñ\u{323}óôơö÷øùúûüư₫ÿ",
    },
];
