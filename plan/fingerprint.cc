#include <cstring>

#include "base/hash.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "plan/text.h"

namespace oneflow {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

uint64_t BitsOf(double value) {
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// Where the program lies differs between hosts; which line it is does not.
bool IsLeftOut(const FieldDescriptor* field) {
  return field->containing_type() == plan::LocationProto::descriptor() &&
         (field->number() == plan::LocationProto::kFileFieldNumber ||
          field->number() == plan::LocationProto::kFunctionFieldNumber);
}

// Walks the fields that are set, by number: the result does not depend on how protobuf serialises.
void Add(const Message& message, Hasher* hasher) {
  const Reflection* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (IsLeftOut(field)) continue;
    const bool repeated = field->is_repeated();
    const int count = repeated ? reflection->FieldSize(message, field) : 1;
    hasher->Integer(static_cast<uint64_t>(field->number())).Integer(static_cast<uint64_t>(count));
    for (int i = 0; i < count; ++i) {
      switch (field->cpp_type()) {
        case FieldDescriptor::CPPTYPE_INT64:
          hasher->Integer(
              static_cast<uint64_t>(repeated ? reflection->GetRepeatedInt64(message, field, i)
                                             : reflection->GetInt64(message, field)));
          break;
        case FieldDescriptor::CPPTYPE_UINT64:
          hasher->Integer(repeated ? reflection->GetRepeatedUInt64(message, field, i)
                                   : reflection->GetUInt64(message, field));
          break;
        case FieldDescriptor::CPPTYPE_INT32:
          hasher->Integer(
              static_cast<uint64_t>(repeated ? reflection->GetRepeatedInt32(message, field, i)
                                             : reflection->GetInt32(message, field)));
          break;
        case FieldDescriptor::CPPTYPE_UINT32:
          hasher->Integer(repeated ? reflection->GetRepeatedUInt32(message, field, i)
                                   : reflection->GetUInt32(message, field));
          break;
        case FieldDescriptor::CPPTYPE_DOUBLE:
          hasher->Integer(BitsOf(repeated ? reflection->GetRepeatedDouble(message, field, i)
                                          : reflection->GetDouble(message, field)));
          break;
        case FieldDescriptor::CPPTYPE_FLOAT:
          hasher->Integer(
              BitsOf(static_cast<double>(repeated ? reflection->GetRepeatedFloat(message, field, i)
                                                  : reflection->GetFloat(message, field))));
          break;
        case FieldDescriptor::CPPTYPE_BOOL:
          hasher->Integer(repeated ? reflection->GetRepeatedBool(message, field, i)
                                   : reflection->GetBool(message, field));
          break;
        case FieldDescriptor::CPPTYPE_ENUM:
          hasher->Integer(
              static_cast<uint64_t>(repeated ? reflection->GetRepeatedEnumValue(message, field, i)
                                             : reflection->GetEnumValue(message, field)));
          break;
        case FieldDescriptor::CPPTYPE_STRING:
          hasher->Text(repeated ? reflection->GetRepeatedString(message, field, i)
                                : reflection->GetString(message, field));
          break;
        case FieldDescriptor::CPPTYPE_MESSAGE:
          Add(repeated ? reflection->GetRepeatedMessage(message, field, i)
                       : reflection->GetMessage(message, field),
              hasher);
          break;
      }
    }
  }
  hasher->Integer(0);  // no field has number 0: ends the message
}

}  // namespace

uint64_t Fingerprint(const plan::Plan& plan) {
  Hasher hasher;
  Add(plan, &hasher);
  return hasher.value();
}

}  // namespace oneflow
