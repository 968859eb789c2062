// The register as a value and as text, and in a file.
#include "broker/replication/register.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/check.h"
#include "broker/replication/file_register.h"
#include "schemas/errors.h"
#include "tests/support/scratch_directory.h"

namespace zsched::broker {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr Uuid kCluster{0x0011223344556677, 0x8899aabbccddeeff};
const Register kFirst{MakeEpoch(1, kPrimary), kPrimary, NodeBit(kPrimary), kCluster};
const Register kBoth{MakeEpoch(1, kPrimary), kPrimary, kAllNodes, kCluster};
const Register kTaken{MakeEpoch(2, kBackup), kBackup, NodeBit(kBackup), kCluster};
constexpr char kFirstText[] =
    R"({"epoch":4,"active":"primary","in_sync":["primary"],"cluster":"00112233445566778899aabbccddeeff"})";

TEST(RegisterValue, IsEmptyUntilItHasAnEpoch) {
  EXPECT_TRUE(Register{}.empty());
  EXPECT_FALSE(kFirst.empty());
  EXPECT_TRUE(CheckRegister(Register{}).ok());
  EXPECT_FALSE(Register{}.IsMember(kPrimary));
}

TEST(RegisterValue, KnowsItsMembers) {
  EXPECT_TRUE(kFirst.IsMember(kPrimary));
  EXPECT_FALSE(kFirst.IsMember(kBackup));
  EXPECT_TRUE(kBoth.IsMember(kPrimary));
  EXPECT_TRUE(kBoth.IsMember(kBackup));
}

TEST(RegisterValue, IsCheckedForWhatNoNodeWouldAskFor) {
  for (const Register& good : {kFirst, kBoth, kTaken}) EXPECT_TRUE(CheckRegister(good).ok());
  Register no_epoch = kFirst, high_epoch = kFirst, no_node = kFirst, other_node = kFirst,
           strange_member = kFirst, not_in_sync = kBoth, no_cluster = kFirst;
  no_epoch.epoch = Epoch();
  high_epoch.epoch = Epoch(kMaxEpoch + 1);
  no_node.active = kNodes;
  other_node.epoch = MakeEpoch(1, kBackup);
  strange_member.in_sync |= NodeBit(kNodes);
  not_in_sync.in_sync = NodeBit(kBackup);
  no_cluster.cluster = Uuid();
  for (const Register& bad :
       {no_epoch, high_epoch, no_node, other_node, strange_member, not_in_sync, no_cluster})
    EXPECT_EQ(CodeOf(CheckRegister(bad)), ErrorCode::kInvalidArgument);
}

TEST(RegisterText, SaysWhatItIs) {
  EXPECT_EQ(ToText(kFirst), kFirstText);
  EXPECT_EQ(ToText(Register{}), "{}");
}

TEST(RegisterText, ReadsWhatItWrites) {
  for (const Register& value : {Register{}, kFirst, kBoth, kTaken}) {
    auto parsed = ParseRegister(ToText(value));
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, value);
  }
}

TEST(RegisterText, MayBeWrittenByHand) {
  auto parsed = ParseRegister(
      " { \"cluster\" : \"00112233445566778899aabbccddeeff\",\n\"in_sync\":[\"backup\", "
      "\"primary\"],"
      "\"active\":\"primary\",\"epoch\":4}\n");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(*parsed, kBoth);
}

// `from` replaced by `to` in the text of a good one.
std::string With(std::string from, const std::string& to) {
  std::string text = kFirstText;
  const size_t at = text.find(from);
  ZS_CHECK(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

TEST(RegisterText, RefusesEverythingElse) {
  const std::string bad[] = {
      "",
      " ",
      "null",
      "4",
      "[]",
      "{",
      "{}x",
      "{\"\":0}",
      "\xff\xfe",
      std::string("{}\0", 3),
      kFirstText + std::string("\0{", 2),
      std::string(kFirstText) + "{}",
      With("\"epoch\":4", "\"epoch\":0"),
      With("\"epoch\":4", "\"epoch\":-4"),
      With("\"epoch\":4", "\"epoch\":4.0"),
      With("\"epoch\":4", "\"epoch\":1e400"),
      With("\"epoch\":4", "\"epoch\":\"4\""),
      With("\"epoch\":4", "\"epoch\":16777216"),
      With("\"epoch\":4", "\"epoch\":18446744073709551620"),
      With("\"epoch\":4", "\"epoch\":[4]"),
      With("\"epoch\":4", "\"epoch\":5"),  // the backup's
      With("\"epoch\":4,", ""),
      With("\"epoch\":4", "\"epoch\":4,\"epoch\":4"),
      With("\"epoch\":4", "\"epoch\":4,\"more\":4"),
      With("\"active\":\"primary\"", "\"active\":\"Primary\""),
      With("\"active\":\"primary\"", "\"active\":0"),
      With("\"active\":\"primary\"", "\"active\":\"backup\""),
      With("[\"primary\"]", "[]"),
      With("[\"primary\"]", "[\"backup\"]"),
      With("[\"primary\"]", "[\"primary\",\"primary\"]"),
      With("[\"primary\"]", "[\"primary\",\"witness\"]"),
      With("[\"primary\"]", "[\"primary\",1]"),
      With("[\"primary\"]", "[{\"a\":1}]"),
      With("[\"primary\"]", "1"),
      With("8899", "889"),
      With("0011", "+011"),
      With("0011", "00x1"),
      With("00112233445566778899aabbccddeeff", "00000000000000000000000000000000"),
      With("\"00112233445566778899aabbccddeeff\"", "{}"),
      std::string(kMaxRegisterTextBytes, ' ') + kFirstText,
      std::string(kMaxRegisterTextBytes, '['),
  };
  for (const std::string& text : bad) {
    auto parsed = ParseRegister(text);
    EXPECT_EQ(CodeOf(parsed.status()), ErrorCode::kMalformed) << text;
    EXPECT_THAT(MessageOf(parsed.status()), Not(HasSubstr("\n")));
  }
}

TEST(RegisterText, WithAnyBitChangedIsRefusedOrAnotherRegister) {
  const std::string good = kFirstText;
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string text = good;
    text[bit / 8] = static_cast<char>(text[bit / 8] ^ (1 << bit % 8));
    auto parsed = ParseRegister(text);
    if (parsed.ok()) {
      EXPECT_TRUE(CheckRegister(*parsed).ok()) << text;
    }
  }
}

class FileRegisterTest : public testing::Test {
 protected:
  std::unique_ptr<RegisterStore> Open() const {
    auto store = OpenFileRegister(directory_.path());
    ZS_CHECK_OK(store.status());
    return *std::move(store);
  }
  std::string File() const { return directory_.path() + "/" + kRegisterFileName; }
  std::string Bytes() const {
    std::ifstream file(File(), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void SetBytes(const std::string& bytes) const {
    std::ofstream(File(), std::ios::binary | std::ios::trunc) << bytes;
  }
  void Put(const Register& value) const {
    auto store = Open();
    auto before = store->Read();
    ZS_CHECK_OK(before.status());
    auto stands = store->Swap(*before, value);
    ZS_CHECK(stands.ok() && *stands == value);
  }

  ScratchDirectory directory_;
};

TEST_F(FileRegisterTest, IsEmptyWithoutAFile) {
  EXPECT_EQ(*Open()->Read(), Register{});
  EXPECT_FALSE(std::filesystem::exists(File()));
}

TEST_F(FileRegisterTest, Survives) {
  for (const Register& value : {kFirst, kBoth, kTaken}) {
    Put(value);
    EXPECT_EQ(*Open()->Read(), value);
  }
  EXPECT_EQ(Bytes().size(), 48u);
  // Nothing else is left behind.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1);
}

TEST_F(FileRegisterTest, HasTheBytesThatItsHeaderShows) {
  Put(kTaken);
  const std::string bytes = Bytes();
  EXPECT_EQ(bytes.substr(0, 24), std::string("zs-regst\1\0\0\0\x9\0\0\0\1\2\0\0\0\0\0\0", 24));
  EXPECT_EQ(bytes.substr(24, 16), std::string("\x77\x66\x55\x44\x33\x22\x11\x00"
                                              "\xff\xee\xdd\xcc\xbb\xaa\x99\x88",
                                              16));
}

TEST_F(FileRegisterTest, RefusesEveryFlippedBit) {
  Put(kBoth);
  const std::string good = Bytes();
  auto store = Open();
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bytes = good;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << bit % 8));
    SetBytes(bytes);
    auto read = store->Read();
    ASSERT_EQ(CodeOf(read.status()), ErrorCode::kDataLoss) << "bit " << bit;
    EXPECT_THAT(MessageOf(read.status()), HasSubstr(File()));
    EXPECT_EQ(CodeOf(store->Swap(kBoth, kTaken).status()), ErrorCode::kDataLoss);
    EXPECT_EQ(CodeOf(store->Swap(Register{}, kTaken).status()), ErrorCode::kDataLoss);
    EXPECT_EQ(Bytes(), bytes) << "a damaged file was changed";
  }
  SetBytes(good);
  EXPECT_EQ(*store->Read(), kBoth);
}

TEST_F(FileRegisterTest, RefusesEveryOtherLength) {
  Put(kBoth);
  const std::string good = Bytes();
  for (size_t size = 0; size < good.size(); ++size) {
    SetBytes(good.substr(0, size));
    EXPECT_EQ(CodeOf(Open()->Read().status()), ErrorCode::kDataLoss) << size;
  }
  for (size_t more : {1, 8, 48, 4048, 4049, 100'000}) {
    SetBytes(good + std::string(more, '\0'));
    EXPECT_EQ(CodeOf(Open()->Read().status()), ErrorCode::kDataLoss) << more;
  }
}

TEST_F(FileRegisterTest, IgnoresWhatACrashBeforeTheRenameLeft) {
  Put(kFirst);
  const std::string standing = Bytes();
  Put(kTaken);
  std::filesystem::rename(File(), File() + ".new");  // whole, and never renamed
  SetBytes(standing);
  EXPECT_EQ(*Open()->Read(), kFirst);
  std::ofstream(File() + ".new", std::ios::trunc) << std::string(1000, 'x');  // or half written
  EXPECT_EQ(*Open()->Read(), kFirst);
  Put(kBoth);
  EXPECT_EQ(*Open()->Read(), kBoth);
  EXPECT_FALSE(std::filesystem::exists(File() + ".new"));
}

TEST_F(FileRegisterTest, RefusesADirectoryThatIsNone) {
  Put(kFirst);
  for (const std::string& name : {directory_.path() + "/missing", File(), std::string()}) {
    auto store = OpenFileRegister(name);
    EXPECT_EQ(CodeOf(store.status()), ErrorCode::kInvalidArgument) << name;
    EXPECT_THAT(MessageOf(store.status()), HasSubstr(name));
  }
}

TEST_F(FileRegisterTest, SaysThatItCannotWriteAndGoesOnWhenItCan) {
  Put(kFirst);
  auto store = Open();
  // A directory in the place of its temporary file stops everybody, root too.
  std::filesystem::create_directory(File() + ".new");
  auto swap = store->Swap(kFirst, kTaken);
  EXPECT_EQ(CodeOf(swap.status()), ErrorCode::kUnavailable);
  EXPECT_THAT(MessageOf(swap.status()), HasSubstr(directory_.path()));
  EXPECT_EQ(*store->Read(), kFirst);
  std::filesystem::remove(File() + ".new");
  EXPECT_EQ(*store->Swap(kFirst, kTaken), kTaken);
}

using RegisterDeathTest = FileRegisterTest;
TEST_F(RegisterDeathTest, IsNeverAskedForWhatNoNodeWants) {
  Register bad = kFirst;
  bad.in_sync = 0;
  EXPECT_DEATH((void)Open()->Swap(Register{}, bad), "invariant broken");
  EXPECT_DEATH((void)Open()->Swap(kFirst, Register{}), "invariant broken");
}

}  // namespace
}  // namespace zsched::broker
