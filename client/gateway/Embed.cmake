# zsched_embed(OUTPUT NAME=FILE…): writes a source file that holds the bytes of each FILE as the asset NAME
# (assets.h). The assembler reads the files, so no byte of theirs goes through the compiler.
function(zsched_embed output)
  set(blocks "")
  set(table "")
  set(files "")
  set(index 0)
  foreach(pair IN LISTS ARGN)
    string(REGEX MATCH "^([^=]+)=(.+)$" whole "${pair}")
    set(name ${CMAKE_MATCH_1})
    set(file ${CMAKE_MATCH_2})
    list(APPEND files ${file})
    string(APPEND blocks
      "asm(\".section .rodata\\n.balign 8\\nzs_asset_${index}:\\n.incbin \\\"${file}\\\"\\nzs_asset_${index}_end:\\n.byte 0\\n.previous\\n\");\n"
      "extern \"C\" const char zs_asset_${index}[], zs_asset_${index}_end[];\n")
    string(APPEND table
      "      {\"${name}\", {zs_asset_${index}, static_cast<size_t>(zs_asset_${index}_end - zs_asset_${index})}},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  file(CONFIGURE OUTPUT ${output} @ONLY CONTENT
"// Made by Embed.cmake.
#include \"client/gateway/assets.h\"

${blocks}
namespace zsched::gateway {

std::span<const Asset> Assets() {
  static const Asset assets[] = {
${table}  };
  return assets;
}

const Asset* FindAsset(std::string_view name) {
  for (const Asset& asset : Assets())
    if (asset.name == name) return &asset;
  return nullptr;
}

}  // namespace zsched::gateway
")
  set_source_files_properties(${output} PROPERTIES OBJECT_DEPENDS "${files}")
endfunction()
