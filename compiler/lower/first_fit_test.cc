#include "compiler/lower/first_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

namespace oneflow {
namespace {

struct Item {
  std::vector<Interval> uses;
  int64_t bytes = 0;
};

std::vector<int64_t> TimesOf(const std::vector<Item>& items) {
  std::vector<int64_t> times;
  for (const Item& item : items) {
    for (const Interval& use : item.uses) {
      times.push_back(use.begin);
      times.push_back(use.end);
    }
  }
  return times;
}

std::vector<int64_t> PlaceAll(const std::vector<Item>& items) {
  FirstFit fit(TimesOf(items));
  std::vector<int64_t> offsets;
  for (const Item& item : items) offsets.push_back(fit.Place(item.uses, item.bytes, {}));
  return offsets;
}

// The lowest offset, found by trying 0 and the end of everything that was placed.
int64_t LowestByTrial(const std::vector<Item>& items, const std::vector<int64_t>& offsets,
                      const std::vector<bool>& avoided) {
  const Item& item = items[offsets.size()];
  const auto meets = [&](size_t other, int64_t offset) {
    if (offsets[other] >= offset + item.bytes || offset >= offsets[other] + items[other].bytes)
      return false;
    if (avoided[other]) return true;
    for (const Interval& a : item.uses) {
      for (const Interval& b : items[other].uses) {
        if (a.begin <= b.end && b.begin <= a.end) return true;
      }
    }
    return false;
  };
  std::vector<int64_t> places = {0};
  for (size_t i = 0; i < offsets.size(); ++i) places.push_back(offsets[i] + items[i].bytes);
  std::sort(places.begin(), places.end());
  return *std::find_if(places.begin(), places.end(), [&](int64_t offset) {
    for (size_t i = 0; i < offsets.size(); ++i) {
      if (meets(i, offset)) return false;
    }
    return true;
  });
}

TEST(FirstFitTest, BytesAreUsedAgainWhenTheyAreFree) {
  EXPECT_EQ(PlaceAll({{{{0, 2}}, 64}, {{{2, 3}}, 64}, {{{3, 5}}, 64}}),
            (std::vector<int64_t>{0, 64, 0}));
}

TEST(FirstFitTest, BetweenTwoUsesOthersMayLie) {
  EXPECT_EQ(PlaceAll({{{{0, 1}, {4, 5}}, 64}, {{{2, 3}}, 64}, {{{3, 4}}, 64}}),
            (std::vector<int64_t>{0, 0, 64}));
}

TEST(FirstFitTest, AHoleMustBeLargeEnough) {
  const std::vector<Item> items = {{{{0, 0}}, 64}, {{{0, 9}}, 64}, {{{1, 9}}, 128}, {{{1, 9}}, 64}};
  EXPECT_EQ(PlaceAll(items), (std::vector<int64_t>{0, 64, 128, 0}));
}

TEST(FirstFitTest, EachLiesAtTheLowestOffset) {
  std::mt19937 random(7);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (int round = 0; round < 20; ++round) {
    std::vector<Item> items(300);
    for (Item& item : items) {
      item.bytes = 64 * draw(1, 6);
      if (draw(0, 40) == 0) {  // always busy
        item.uses = {{std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}};
        continue;
      }
      int64_t time = draw(0, 900);
      for (int64_t use = draw(1, 4); use > 0; --use) {
        const int64_t end = time + (draw(0, 9) == 0 ? draw(0, 800) : draw(0, 12));
        item.uses.push_back({time, end});
        time = end + draw(1, 60);
      }
    }
    FirstFit fit(TimesOf(items));
    std::vector<int64_t> offsets;
    for (const Item& item : items) {
      std::vector<bool> avoided(offsets.size());
      ByteSet bytes;
      for (size_t i = 0; i < offsets.size(); ++i) {
        avoided[i] = draw(0, 99) == 0;
        if (avoided[i]) bytes.Add({offsets[i], offsets[i] + items[i].bytes});
      }
      const int64_t lowest = LowestByTrial(items, offsets, avoided);
      offsets.push_back(fit.Place(item.uses, item.bytes, bytes));
      ASSERT_EQ(offsets.back(), lowest) << "item " << offsets.size() - 1 << " of round " << round;
    }
  }
}

// Forward and backward of `layers` layers: three results live from one to the other, two do not, and
// one of each layer until the step ends.
int64_t LooksOfLayers(int64_t layers) {
  std::vector<Item> items;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const int64_t forward = 8 * layer, backward = 8 * (2 * layers - layer);
    for (int64_t i = 0; i < 5; ++i) {
      const int64_t end = i < 3 ? backward + i : forward + i + 2;
      items.push_back({{{forward + i, end}}, 64 * (i + 1)});
      items.push_back({{{backward + i, backward + i + 2}}, 64 * (i + 1)});
    }
    items.push_back({{{backward + 6, 16 * layers + 8 + layer}}, 64});
  }
  FirstFit fit(TimesOf(items));
  for (const Item& item : items) fit.Place(item.uses, item.bytes, {});
  return fit.looks();
}

// Four times the layers: four times the placements and two levels more; one by one it is 16 times.
TEST(FirstFitTest, NearLinearInWhatLivesAtOnce) {
  EXPECT_LE(LooksOfLayers(400), 6 * LooksOfLayers(100));
  EXPECT_LE(LooksOfLayers(1600), 6 * LooksOfLayers(400));
}

}  // namespace
}  // namespace oneflow
