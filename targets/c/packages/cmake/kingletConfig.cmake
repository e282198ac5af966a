# find_package(kinglet): the target kinglet::kinglet is the archive that suits the compiler, or the
# one that KINGLET_ARCH names; each archive is also a target by its name, as kinglet::m4f.
# kinglet_model() puts a model into a program. KINGLET_STORIES is the model that comes along.

include("${CMAKE_CURRENT_LIST_DIR}/kingletArchive.cmake")
get_filename_component(_kinglet_root "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
set(KINGLET_MODEL_SOURCE "${_kinglet_root}/share/kinglet/model.S")
set(KINGLET_STORIES "${_kinglet_root}/share/kinglet/stories.kinglet")

file(GLOB _kinglet_libraries "${_kinglet_root}/lib/*/libkinglet.a")
foreach(_kinglet_library IN LISTS _kinglet_libraries)
    get_filename_component(_kinglet_name "${_kinglet_library}" DIRECTORY)
    get_filename_component(_kinglet_name "${_kinglet_name}" NAME)
    if(NOT TARGET kinglet::${_kinglet_name})
        add_library(kinglet::${_kinglet_name} STATIC IMPORTED)
        set_target_properties(kinglet::${_kinglet_name} PROPERTIES
            IMPORTED_LOCATION "${_kinglet_library}"
            INTERFACE_INCLUDE_DIRECTORIES "${_kinglet_root}/include")
    endif()
endforeach()

kinglet_archive(_kinglet_name "${CMAKE_CURRENT_LIST_DIR}/archives.json")
if(_kinglet_name)
    if(NOT TARGET kinglet::kinglet)
        add_library(kinglet::kinglet INTERFACE IMPORTED)
        set_target_properties(kinglet::kinglet PROPERTIES
            INTERFACE_LINK_LIBRARIES kinglet::${_kinglet_name})
    endif()
    set(kinglet_ARCHIVE ${_kinglet_name})
else()
    set(kinglet_FOUND FALSE)
    set(kinglet_NOT_FOUND_MESSAGE
        "no archive of Kinglet suits: ${_kinglet_name_WHY}. Set KINGLET_ARCH to one of them")
endif()
