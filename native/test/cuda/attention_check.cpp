// Checks attention and attentionGradient on CUDA, in float32, tf32 and bf16.
#include "../attention_cases.h"
#include "suite.h"

namespace langevin {
namespace cuda {
namespace {

void checkForm(const Form& f, Precision precision, const Data& given) {
  for (const Case& c : attentionCases(f, precision, given)) check(c, precision);
}

void checkForm(const Form& f, Random& random) { checkForm(f, Precision::float32, Data(f, random)); }

void checkOnTensorCores(const Form& f, Random& random) {
  const Data given(f, random);
  checkForm(f, Precision::tf32, given);
  checkForm(f, Precision::bf16, given);
}

void checkAttention(Random& random, Effort effort) {
  checkForm({2, 9, 13, 2, 8, 4}, random);
  checkForm({1, 65, 65, 1, 5, 3}, random);                            // one beyond a tile, one channel at a time
  checkForm({1, 130, 70, 1, 36, 40, true}, random);                   // depth in two stages; keys that nobody sees
  checkForm({1, 12, 75, 1, 8, 132}, random);                          // values in several chunks
  checkForm({1, 7, 66, 1, 68, 8, false, Masked::added}, random);      // gradients of queries in several chunks
  checkForm({1, 67, 70, 1, 66, 70}, random);                          // and over several tiles
  checkForm({1, 5, 70, 1, 8, 68, true}, random);                      // a tile of keys that nobody sees
  checkForm({2, 66, 5, 2, 4, 4, true, Masked::choosing}, random);     // queries that may look nowhere
  for (int round = 2; round < effort.rounds; round += 3)
    checkForm({random.between(1, 2), random.between(1, 90), random.between(1, 90), random.between(1, 2), random.between(1, 40),
               random.between(1, 70), round % 2 == 0, round % 3 == 0 ? Masked::added : Masked::no},
              random);
}

void checkTensorCores(Random& random, Effort effort) {
  checkOnTensorCores({2, 9, 13, 2, 8, 8}, random);
  checkOnTensorCores({1, 65, 70, 1, 5, 3}, random);                             // one beyond a tile, one channel at a time
  checkOnTensorCores({1, 131, 70, 1, 24, 40, true}, random);                    // two blocks of queries
  checkOnTensorCores({1, 20, 75, 1, 72, 160}, random);                          // several tiles of channels
  checkOnTensorCores({1, 7, 66, 1, 64, 128, false, Masked::added}, random);
  checkOnTensorCores({1, 5, 130, 1, 8, 264, true}, random);                     // keys that nobody sees; channels in two blocks
  checkOnTensorCores({1, 17, 33, 1, 136, 128}, random);                         // own rows that are not all kept
  checkOnTensorCores({2, 66, 5, 2, 4, 4, true, Masked::choosing}, random);      // queries that may look nowhere
  checkOnTensorCores({1, 5, 0, 1, 8, 8}, random);                               // no keys
  checkOnTensorCores({1, 0, 5, 1, 8, 8}, random);                               // no queries
  for (int round = 2; round < effort.rounds; round += 3)
    checkOnTensorCores({random.between(1, 2), random.between(1, 140), random.between(1, 140), random.between(1, 2),
                        random.between(1, 80), random.between(1, 140), round % 2 == 0,
                        round % 3 == 0 ? Masked::choosing : Masked::no},
                       random);
}

CUDA_CHECKS("attention", checkAttention);
CUDA_CHECKS("attention on tensor cores", checkTensorCores);

}  // namespace
}  // namespace cuda
}  // namespace langevin
