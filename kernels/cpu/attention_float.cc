#include "kernels/cpu/attention_float.h"

#include <algorithm>
#include <cstring>

namespace oneflow::kernels {

FloatProduct::FloatProduct(const MicroKernels& kernels, int64_t columns)
    : kernels_(kernels),
      columns_up_((columns + kernels.width - 1) / kernels.width * kernels.width),
      strips_(CutIntoStrips(0, columns, kernels.width)) {}

void FloatProduct::Pack(ConstFloatRows b, bool transposed, int64_t terms, float* packed) const {
  for (const ColumnStrip& strip : strips_) {
    const int64_t width = int64_t{strip.vectors} * kernels_.width;
    if (strip.columns < width) {
      for (int64_t p = 0; p < terms; ++p) {
        std::fill(packed + p * width + strip.columns, packed + (p + 1) * width, 0.0f);
      }
    }
    if (transposed) {
      kernels_.transpose(b.data + strip.begin * b.row, b.row, terms, strip.columns, packed, width);
    } else {
      for (int64_t p = 0; p < terms; ++p) {
        std::memcpy(packed + p * width, b.data + p * b.row + strip.begin,
                    strip.columns * sizeof(float));
      }
    }
    packed += terms * width;
  }
}

template <typename TermsOf>
void FloatProduct::MultiplyTiles(ConstFloatRows a, int64_t rows, int64_t terms, const float* packed,
                                 FloatRows c, bool accumulate, const TermsOf& terms_of) const {
  const float* a_rows[kMaxTileRows];
  float* c_rows[kMaxTileRows];
  TileCall call;
  call.a = a_rows;
  call.c = c_rows;
  call.accumulate = accumulate;
  for (const ColumnStrip& strip : strips_) {
    call.b = packed;
    call.c_offset = strip.begin;
    call.columns = strip.columns;
    for (int64_t row = 0; row < rows; row += kernels_.rows) {
      const int count = static_cast<int>(std::min<int64_t>(kernels_.rows, rows - row));
      call.k = terms_of(strip, row + count - 1);
      if (call.k < 0) continue;
      for (int i = 0; i < count; ++i) {
        a_rows[i] = a.data + (row + i) * a.row;
        c_rows[i] = c.data + (row + i) * c.row;
      }
      kernels_.tile[count - 1][strip.vectors - 1](call);
    }
    packed += terms * strip.vectors * kernels_.width;
  }
}

void FloatProduct::Multiply(ConstFloatRows a, const ScorePlace& seen, const float* packed,
                            FloatRows c, bool accumulate) const {
  MultiplyTiles(a, seen.rows, seen.keys, packed, c, accumulate,
                [&](const ColumnStrip&, int64_t last_row) { return seen.Seen(last_row); });
}

void FloatProduct::MultiplySeen(ConstFloatRows a, int64_t terms, const ScorePlace& seen,
                                const float* packed, FloatRows c) const {
  MultiplyTiles(a, seen.rows, terms, packed, c, /*accumulate=*/false,
                [&](const ColumnStrip& strip, int64_t last_row) {
                  return seen.Seen(last_row) <= strip.begin ? int64_t{-1} : terms;
                });
}

void FloatProduct::MultiplyTransposed(ConstFloatRows a, const ScorePlace& seen, ConstFloatRows b,
                                      FloatRows c) const {
  const float* b_rows[kQueryBlock];
  for (int64_t p = 0; p < seen.rows; ++p) b_rows[p] = b.data + p * b.row;
  OuterCall call;
  call.a_step = a.row;
  call.c_row = c.row;
  call.accumulate = true;
  for (const ColumnStrip& strip : strips_) {
    for (int v = 0; v < strip.vectors; ++v) {
      call.b_offset[v] = call.column[v] = strip.begin + v * kernels_.width;
      call.count[v] =
          std::min<int64_t>(kernels_.width, strip.columns - int64_t{v} * kernels_.width);
    }
    for (int64_t key = 0; key < seen.keys; key += kernels_.rows) {
      const int count = static_cast<int>(std::min<int64_t>(kernels_.rows, seen.keys - key));
      // Row p sees the key if seen + p > key.
      const int64_t first =
          seen.causal ? std::clamp<int64_t>(key - seen.seen + 1, 0, seen.rows) : 0;
      if (first == seen.rows) continue;
      for (int v = 0; v < strip.vectors; ++v) call.b[v] = b_rows + first;
      call.a = a.data + first * a.row + key;
      call.k = seen.rows - first;
      call.c = c.data + key * c.row;
      kernels_.outer[count - 1][strip.vectors - 1](call);
    }
  }
}

FloatProducts::FloatProducts(const AttentionProblem& problem, AttentionPass pass, DType dtype)
    : problem_(problem),
      pass_(pass),
      bytes_(SizeOf(dtype)),
      narrow_(NarrowOf(dtype)),
      by_width_(HostMicroKernels(), problem.width),
      by_value_width_(HostMicroKernels(), problem.value_width),
      whole_block_(HostMicroKernels(), kKeyBlock),
      last_block_(HostMicroKernels(), problem.keys % kKeyBlock) {}

FloatProducts::Space::Space(const FloatProducts& products, AttentionSpace* space) {
  const AttentionProblem& a = products.problem_;
  const int64_t keys = a.key_blocks() * kKeyBlock;
  const bool backward = products.pass_ == AttentionPass::kBackward;
  const int64_t widest = std::max(a.width, a.value_width);
  k_columns = space->Take<float>(keys * a.width);
  v_columns = backward ? space->Take<float>(keys * a.value_width) : nullptr;
  k_rows = backward ? space->Take<float>(products.by_width_.packed(keys)) : nullptr;
  v_rows = backward ? nullptr : space->Take<float>(products.by_value_width_.packed(keys));
  wide_keys = wide_q = wide_out = wide_dout = result = dk = dv = nullptr;
  if (!products.narrow_) return;
  wide_keys = space->Take<float>(kKeyBlock * widest);
  wide_q = space->Take<float>(kQueryBlock * a.width);
  result = space->Take<float>(kQueryBlock * widest);
  if (!backward) return;
  wide_out = space->Take<float>(kQueryBlock * a.value_width);
  wide_dout = space->Take<float>(kQueryBlock * a.value_width);
  dk = space->Take<float>(a.keys * a.width);
  dv = space->Take<float>(a.keys * a.value_width);
}

ConstFloatRows FloatProducts::Widened(const void* rows, int64_t count, int64_t row, int64_t columns,
                                      float* space) const {
  if (!narrow_) return {static_cast<const float*>(rows), row};
  for (int64_t i = 0; i < count; ++i) {
    narrow_.widen(Row(rows, i * row), space + i * columns, columns);
  }
  return {space, columns};
}

void FloatProducts::Narrowed(FloatRows from, int64_t count, int64_t columns, void* to,
                             int64_t row) const {
  if (!narrow_) return;  // it was made there
  for (int64_t i = 0; i < count; ++i) {
    narrow_.narrow(from.data + i * from.row, static_cast<char*>(to) + i * row * bytes_, columns);
  }
}

void FloatProducts::TakeKeys(const void* k, const void* v, Space* space) const {
  const AttentionProblem& a = problem_;
  for (int64_t key = 0; key < a.keys; key += kKeyBlock) {
    const int64_t keys = std::min(kKeyBlock, a.keys - key);
    const auto block = [&](const void* rows, int64_t row, int64_t columns) {
      return Widened(Row(rows, key * row), keys, row, columns, space->wide_keys);
    };
    const ConstFloatRows k_block = block(k, a.k_row(), a.width);
    OfKeys(keys).Pack(k_block, true, a.width, space->k_columns + key * a.width);
    if (space->k_rows != nullptr) {
      by_width_.Pack(k_block, false, keys, space->k_rows + by_width_.packed(key));
    }
    const ConstFloatRows v_block = block(v, a.v_row(), a.value_width);
    if (space->v_columns != nullptr) {
      OfKeys(keys).Pack(v_block, true, a.value_width, space->v_columns + key * a.value_width);
    }
    if (space->v_rows != nullptr) {
      by_value_width_.Pack(v_block, false, keys, space->v_rows + by_value_width_.packed(key));
    }
  }
}

void FloatProducts::TakeQueries(const void* q, int64_t rows, Space* space) const {
  space->q = Widened(q, rows, problem_.q_row(), problem_.width, space->wide_q);
}

FloatRows FloatProducts::TakeResult(void* out, Space* space) const {
  space->out = narrow_ ? FloatRows{space->result, problem_.value_width}
                       : FloatRows{static_cast<float*>(out), problem_.out_row()};
  return space->out;
}

void FloatProducts::StoreResult(void* out, int64_t rows, Space* space) const {
  Narrowed(space->out, rows, problem_.value_width, out, problem_.out_row());
}

void FloatProducts::Scores(const ScorePlace& at, const Space& space, float* scores) const {
  OfKeys(at.keys).MultiplySeen(space.q, problem_.width, at,
                               space.k_columns + at.key * problem_.width, {scores, kKeyBlock});
}

void FloatProducts::AddValues(const ScorePlace& at, const Space& space, const float* weights,
                              bool first) const {
  by_value_width_.Multiply({weights, kKeyBlock}, at, space.v_rows + by_value_width_.packed(at.key),
                           space.out, !first);
}

void FloatProducts::TakeSlopes(const void* out, const void* dout, int64_t rows, Space* space,
                               ConstFloatRows* out_rows, ConstFloatRows* dout_rows) const {
  const int64_t row = problem_.out_row();
  *out_rows = Widened(out, rows, row, problem_.value_width, space->wide_out);
  *dout_rows = space->dout = Widened(dout, rows, row, problem_.value_width, space->wide_dout);
}

void FloatProducts::TakeKeyGradients(void* dk, void* dv, Space* space) const {
  const AttentionProblem& a = problem_;
  space->key_gradients =
      narrow_ ? FloatRows{space->dk, a.width} : FloatRows{static_cast<float*>(dk), a.k_row()};
  space->value_gradients =
      narrow_ ? FloatRows{space->dv, a.value_width} : FloatRows{static_cast<float*>(dv), a.v_row()};
  for (int64_t key = 0; key < a.keys; ++key) {
    std::fill_n(space->key_gradients.data + key * space->key_gradients.row, a.width, 0.0f);
    std::fill_n(space->value_gradients.data + key * space->value_gradients.row, a.value_width,
                0.0f);
  }
}

void FloatProducts::TakeQueryGradients(void* dq, int64_t rows, Space* space) const {
  space->dq = narrow_ ? FloatRows{space->result, problem_.width}
                      : FloatRows{static_cast<float*>(dq), problem_.q_row()};
  if (problem_.keys > 0) return;  // the first block overwrites
  for (int64_t i = 0; i < rows; ++i) {
    std::fill_n(space->dq.data + i * space->dq.row, problem_.width, 0.0f);
  }
}

void FloatProducts::Slopes(const ScorePlace& at, const Space& space, float* slopes) const {
  OfKeys(at.keys).MultiplySeen(space.dout, problem_.value_width, at,
                               space.v_columns + at.key * problem_.value_width,
                               {slopes, kKeyBlock});
}

void FloatProducts::AddGradients(const ScorePlace& at, const Space& space, const ScoreBlock& block,
                                 bool first) const {
  const auto from_key = [&](FloatRows rows) {
    return FloatRows{rows.data + at.key * rows.row, rows.row};
  };
  by_value_width_.MultiplyTransposed({block.scores, kKeyBlock}, at, space.dout,
                                     from_key(space.value_gradients));
  by_width_.MultiplyTransposed({block.slopes, kKeyBlock}, at, space.q,
                               from_key(space.key_gradients));
  by_width_.Multiply({block.slopes, kKeyBlock}, at, space.k_rows + by_width_.packed(at.key),
                     space.dq, !first);
}

void FloatProducts::StoreQueryGradients(void* dq, int64_t rows, Space* space) const {
  Narrowed(space->dq, rows, problem_.width, dq, problem_.q_row());
}

void FloatProducts::StoreKeyGradients(void* dk, void* dv, Space* space) const {
  Narrowed(space->key_gradients, problem_.keys, problem_.width, dk, problem_.k_row());
  Narrowed(space->value_gradients, problem_.keys, problem_.value_width, dv, problem_.v_row());
}

}  // namespace oneflow::kernels
