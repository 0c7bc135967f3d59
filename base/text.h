// Text of single values as dumps and plans print them: floats, quoted strings, and how to read them
// back.
//
// Pure functions. Threads: any. Invariant: what is printed here parses back to the same bits, on
// every machine and locale. Read next: plan/text.h.
#ifndef ONEFLOW_BASE_TEXT_H_
#define ONEFLOW_BASE_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace oneflow {

// The shortest decimal that reads back as `value`, always told apart from an integer: "1.0",
// "1e-05", "-0.0", "inf", "-inf", "nan". A NaN with other bits than the usual one prints them:
// "nan:7ff8000000000001".
std::string FloatText(double value);
// Inverse of FloatText; also takes any other decimal. nullopt if `text` as a whole is not a float.
std::optional<double> ParseFloat(std::string_view text);

// The whole of `text` as a decimal integer; nullopt on other characters or overflow.
std::optional<int64_t> ParseInt(std::string_view text);
std::optional<uint64_t> ParseUnsigned(std::string_view text);

// `"..."` with \" \\ \n \t \r and \xHH for other control characters and for bytes that are not
// UTF-8.
std::string Quoted(std::string_view text);
// Reads a Quoted string that begins at text[*position] (a `"`) and leaves *position behind its end.
// nullopt if it does not end or holds an unknown escape or a control character.
std::optional<std::string> ParseQuoted(std::string_view text, size_t* position);

// Length in bytes of the UTF-8 character at text[position], 0 if there is none (overlong forms and
// surrogates are none).
size_t Utf8Length(std::string_view text, size_t position);
bool IsUtf8(std::string_view text);

// "8 B", "64.0 KiB", "16.4 MiB": bytes for people.
std::string BytesText(int64_t bytes);

}  // namespace oneflow

#endif  // ONEFLOW_BASE_TEXT_H_
