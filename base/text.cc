#include "base/text.h"

#include <array>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

namespace oneflow {
namespace {

constexpr char kHex[] = "0123456789abcdef";

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

uint64_t UsualNan() { return std::bit_cast<uint64_t>(std::numeric_limits<double>::quiet_NaN()); }

template <typename Number>
std::optional<Number> ParseWhole(std::string_view text) {
  Number value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

}  // namespace

std::string FloatText(double value) {
  if (std::isnan(value)) {
    const uint64_t bits = std::bit_cast<uint64_t>(value);
    if (bits == UsualNan()) return "nan";
    std::array<char, 24> text;
    const int length = std::snprintf(text.data(), text.size(), "nan:%016llx",
                                     static_cast<unsigned long long>(bits));
    return std::string(text.data(), static_cast<size_t>(length));
  }
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 32> buffer;
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text(buffer.data(), result.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::optional<double> ParseFloat(std::string_view text) {
  if (text == "nan") return std::bit_cast<double>(UsualNan());
  if (text.substr(0, 4) == "nan:") {
    text.remove_prefix(4);
    if (text.size() != 16) return std::nullopt;
    uint64_t bits = 0;
    for (char c : text) {
      if (HexDigit(c) < 0) return std::nullopt;
      bits = bits << 4 | static_cast<uint64_t>(HexDigit(c));
    }
    const double value = std::bit_cast<double>(bits);
    if (!std::isnan(value)) return std::nullopt;
    return value;
  }
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  // from_chars knows more spellings of inf and nan; one spelling each is enough.
  if (text.find_first_of("nN") != std::string_view::npos) return std::nullopt;
  return ParseWhole<double>(text);
}

std::optional<int64_t> ParseInt(std::string_view text) { return ParseWhole<int64_t>(text); }

std::optional<uint64_t> ParseUnsigned(std::string_view text) { return ParseWhole<uint64_t>(text); }

size_t Utf8Length(std::string_view text, size_t position) {
  const auto byte = [&](size_t i) -> uint32_t {
    return position + i < text.size() ? static_cast<unsigned char>(text[position + i]) : 0u;
  };
  const auto continues = [&](size_t i) { return (byte(i) & 0xc0u) == 0x80u; };
  if (position >= text.size()) return 0;
  const uint32_t lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xc2 && lead <= 0xdf) return continues(1) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (!continues(1) || !continues(2)) return 0;
    const uint32_t code = (lead & 0x0fu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu);
    return code >= 0x800 && (code < 0xd800 || code > 0xdfff) ? 3 : 0;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    const uint32_t code =
        (lead & 0x07u) << 18 | (byte(1) & 0x3fu) << 12 | (byte(2) & 0x3fu) << 6 | (byte(3) & 0x3fu);
    return code >= 0x10000 && code <= 0x10ffff ? 4 : 0;
  }
  return 0;
}

bool IsUtf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = Utf8Length(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

std::string Quoted(std::string_view text) {
  std::string quoted = "\"";
  for (size_t i = 0; i < text.size();) {
    const char c = text[i];
    const size_t length = Utf8Length(text, i);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (c == '\r') {
      quoted += "\\r";
    } else if (length == 0 || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += "\\x";
      quoted += kHex[static_cast<unsigned char>(c) >> 4];
      quoted += kHex[static_cast<unsigned char>(c) & 15];
    } else {
      quoted += text.substr(i, length);
    }
    i += length == 0 ? 1 : length;
  }
  return quoted + '"';
}

std::optional<std::string> ParseQuoted(std::string_view text, size_t* position) {
  size_t i = *position;
  if (i >= text.size() || text[i] != '"') return std::nullopt;
  std::string value;
  for (++i; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '"') {
      *position = i + 1;
      return value;
    }
    if (static_cast<unsigned char>(c) < 0x20) return std::nullopt;
    if (c != '\\') {
      value += c;
      continue;
    }
    if (++i >= text.size()) return std::nullopt;
    switch (text[i]) {
      case '"':
      case '\\':
        value += text[i];
        break;
      case 'n':
        value += '\n';
        break;
      case 't':
        value += '\t';
        break;
      case 'r':
        value += '\r';
        break;
      case 'x': {
        if (i + 2 >= text.size()) return std::nullopt;
        const int high = HexDigit(text[i + 1]);
        const int low = HexDigit(text[i + 2]);
        if (high < 0 || low < 0) return std::nullopt;
        value += static_cast<char>(high * 16 + low);
        i += 2;
        break;
      }
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

std::string BytesText(int64_t bytes) {
  constexpr std::array<const char*, 6> kNames = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  const bool negative = bytes < 0;
  const uint64_t size = negative ? 0 - static_cast<uint64_t>(bytes) : static_cast<uint64_t>(bytes);
  const std::string sign = negative ? "-" : "";
  if (size < 1024) return sign + std::to_string(size) + " B";
  // Tenths in integers, rounded down: the same text on every machine.
  size_t name = 0;
  uint64_t unit = 1024;
  while (name + 1 < kNames.size() && size / unit >= 1024) {
    unit *= 1024;
    ++name;
  }
  const uint64_t whole = size / unit;
  const uint64_t tenth = size % unit * 10 / unit;  // unit <= 2^60: no overflow
  return sign + std::to_string(whole) + "." + std::to_string(tenth) + " " + kNames[name];
}

}  // namespace oneflow
