#include "broker/core/fingerprint.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <array>

namespace zsched::broker {
namespace {

// Fewer hexadecimal digits than that are a number or a word ("add2", "4ed").
constexpr size_t kMinHexId = 6;
constexpr std::array<size_t, 5> kUuidGroups = {8, 4, 4, 4, 12};
constexpr size_t kUuidBytes = 36;

// Behind one of these a number is the error itself, and no detail of it.
constexpr std::array<std::string_view, 6> kCauses = {"code",  "status", "errno",
                                                     "error", "signal", "http"};
constexpr size_t kMaxCauseDigits = 5;

// Not of <cctype>: the rule must not depend on a locale.
bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) {
  const char lower = static_cast<char>(c | 0x20);
  // Bytes of UTF-8 characters that are not ASCII belong to words.
  return (lower >= 'a' && lower <= 'z') || static_cast<unsigned char>(c) >= 0x80;
}
bool IsHex(char c) {
  const char lower = static_cast<char>(c | 0x20);
  return IsDigit(c) || (lower >= 'a' && lower <= 'f');
}
bool IsWord(char c) { return IsDigit(c) || IsLetter(c); }
bool IsBlank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool IsQuote(char c) { return c == '\'' || c == '"' || c == '`'; }
bool IsJoint(char c) {
  return c == '.' || c == ',' || c == ':' || c == '-' || c == '+' || c == '_';
}
bool IsCause(std::string_view word) {
  return std::any_of(kCauses.begin(), kCauses.end(), [word](std::string_view cause) {
    return std::equal(word.begin(), word.end(), cause.begin(), cause.end(),
                      [](char a, char b) { return (a | 0x20) == b; });
  });
}
// What ends a path, also when it stands in brackets or at the end of a clause.
bool IsPathEnd(char c) {
  return IsBlank(c) || IsQuote(c) || std::string_view("()[]{}<>,;|").find(c) != std::string::npos;
}

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) { out_.reserve(text.size()); }

  std::string Run() && {
    while (at_ < text_.size())
      if (!Blanks() && !Quoted() && !Path() && !UuidOrWord()) Mark();
    while (!out_.empty() && out_.back() == ' ') out_.pop_back();
    return std::move(out_);
  }

 private:
  char At(size_t i) const { return i < text_.size() ? text_[i] : '\0'; }
  bool InWord() const { return at_ > 0 && IsWord(text_[at_ - 1]); }

  bool Blanks() {
    if (!IsBlank(text_[at_])) return false;
    while (at_ < text_.size() && IsBlank(text_[at_])) ++at_;
    if (!out_.empty()) out_ += ' ';
    return true;
  }

  void Mark() {
    if (text_[at_] != ':' && text_[at_] != '=') behind_cause_ = false;
    out_ += text_[at_++];
  }

  // From a quote to the next of its kind; neither may be an apostrophe within a word.
  bool Quoted() {
    const char quote = text_[at_];
    if (!IsQuote(quote) || InWord()) return false;
    for (size_t end = at_ + 1; end < text_.size(); ++end) {
      if (text_[end] != quote || IsWord(At(end + 1))) continue;
      Detail(end + 1);
      return true;
    }
    return false;
  }

  bool Path() {
    if (InWord() || !StartsPath()) return false;
    size_t end = at_;
    while (end < text_.size() && !IsPathEnd(text_[end])) ++end;
    // What ends the sentence is not the path's.
    while (end > at_ + 1 && (text_[end - 1] == '.' || text_[end - 1] == ':')) --end;
    Detail(end);
    return true;
  }
  bool StartsPath() const {
    const std::string_view rest = text_.substr(at_);
    for (std::string_view start : {"./", "../", "~/"})
      if (rest.starts_with(start)) return true;
    if (rest[0] == '/') return rest.size() > 1 && !IsPathEnd(rest[1]);
    if (!IsLetter(rest[0])) return false;
    if (At(at_ + 1) == ':' && At(at_ + 2) == '\\') return true;
    const size_t scheme =
        static_cast<size_t>(std::find_if_not(rest.begin(), rest.end(), IsWord) - rest.begin());
    return rest.substr(scheme).starts_with("://");
  }

  bool UuidOrWord() {
    if (!IsWord(text_[at_])) return false;
    if (IsUuid()) {
      Detail(at_ + kUuidBytes);
      return true;
    }
    size_t end = at_;
    while (end < text_.size() && IsWord(text_[end])) ++end;
    const std::string_view word = text_.substr(at_, end - at_);
    const auto first_digit = std::find_if(word.begin(), word.end(), IsDigit);
    const bool number = std::all_of(word.begin(), word.end(), IsDigit);
    if (first_digit == word.end() || (behind_cause_ && number && word.size() <= kMaxCauseDigits)) {
      out_ += word;
      at_ = end;
      behind_cause_ = IsCause(word);
      return true;
    }
    const bool named = std::all_of(first_digit, word.end(), IsDigit);
    const bool id = word.size() >= kMinHexId && std::all_of(word.begin(), word.end(), IsHex);
    if (named && !id) {
      const auto letters = static_cast<size_t>(first_digit - word.begin());
      out_ += word.substr(0, letters);
      at_ += letters;
    }
    Detail(end);
    return true;
  }
  bool IsUuid() const {
    size_t i = at_;
    for (size_t group : kUuidGroups) {
      if (i != at_ && At(i++) != '-') return false;
      for (size_t digits = 0; digits < group; ++digits)
        if (!IsHex(At(i++))) return false;
    }
    return !IsWord(At(i));
  }

  // Takes the text up to `end` as a detail; with another before it that only a joint parts from it
  // ("10.0", "08:00"), the two are one.
  void Detail(size_t end) {
    at_ = end;
    behind_cause_ = false;
    const size_t size = out_.size();
    if (size >= 2 && IsJoint(out_[size - 1]) && out_[size - 2] == '#')
      out_.pop_back();
    else if (size < 1 || out_[size - 1] != '#')
      out_ += '#';
  }

  const std::string_view text_;
  size_t at_ = 0;
  bool behind_cause_ = false;  // the last word was one, and only blanks and marks came since
  std::string out_;
};

}  // namespace

std::string WithoutDetails(std::string_view message) { return Scanner(message).Run(); }

// Each part seeds the next, so that bytes cannot move from one to another unnoticed.
uint64_t FingerprintOf(std::string_view type, ErrorCode code, std::string_view message) {
  const std::string text = WithoutDetails(message);
  uint64_t hash = static_cast<uint64_t>(code);
  for (std::string_view part : {type, std::string_view(text)})
    hash = XXH3_64bits_withSeed(part.data(), part.size(), hash + part.size());
  return hash == 0 ? 1 : hash;  // 0 says that there is none
}

}  // namespace zsched::broker
